"""The little of curl that a status script needs, for machines that have neither curl nor wget.

Understands -s -S -f -L, -m/--max-time and --connect-timeout S, -o FILE, -w FORMAT (%{http_code}), and one address.
Exit codes are curl's: 0, 2 usage, 7 no connection, 22 an HTTP error with -f, 28 time-out.
"""

import argparse
import sys
import urllib.error
import urllib.request
from pathlib import Path


def main() -> int:
    """Fetch the address; its body goes to standard output or FILE."""
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    for short, long in (("-s", "--silent"), ("-S", "--show-error"), ("-f", "--fail"), ("-L", "--location")):
        parser.add_argument(short, long, action="store_true")
    parser.add_argument("-m", "--max-time", type=float, default=30.0)
    parser.add_argument("--connect-timeout", type=float, default=30.0)
    parser.add_argument("-o", "--output")
    parser.add_argument("-w", "--write-out", default="")
    parser.add_argument("url")
    options = parser.parse_args()
    if not options.url.startswith(("http://", "https://")):
        options.url = f"http://{options.url}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(options.url, timeout=min(options.max_time, options.connect_timeout)) as answer:
            code, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        code, body = error.code, b"" if options.fail else error.read()
    except TimeoutError:
        return _complain(options, 28, "Operation timed out")
    except OSError as error:
        is_late = isinstance(getattr(error, "reason", None), TimeoutError)
        return _complain(options, 28 if is_late else 7, f"Failed to connect: {error}")
    if options.output:
        Path(options.output).write_bytes(body)
    else:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
    sys.stdout.write(options.write_out.replace("%{http_code}", str(code)).replace("\\n", "\n"))
    return 22 if options.fail and code >= 400 else 0


def _complain(options: argparse.Namespace, code: int, text: str) -> int:
    if options.show_error or not options.silent:
        sys.stderr.write(f"curl: ({code}) {text}\n")
    if "%{http_code}" in options.write_out:
        sys.stdout.write(options.write_out.replace("%{http_code}", "000").replace("\\n", "\n"))
    return code


if __name__ == "__main__":
    sys.exit(main())
