r"""The POSIX sh programs that run on a machine, and how they are handed over.

They run in dash, bash and busybox ash, with coreutils or busybox. A command line holds one short constant text; the
program and everything that comes from a configuration travel over standard input, one line each, and are read
by ``read -r``: no shell ever parses them, and ``pgrep -f`` on the machine cannot match them.

Every program has the same frame: a main shell reads pings from standard input and passes them on as SIGUSR1; the work is done
in background shells of the same process group. End of input kills the group at once; a worker that heard no ping
for ``dead_s`` seconds kills it too (a link can die without an end of input). For that the program needs a process group of its
own; it takes one by ``setsid`` if it was not given one.
"""

import shlex
from collections.abc import Iterable

from waa.core.spec import VmSpec

MARK = "waa-live-watch"
"""Stands on the command line of every shell that is ours: how they leave themselves out of the search for a runner."""

DEAD_S = 60
"""Without a ping for this long a program on the machine ends by itself."""

INNER_DEAD_S = 30
"""The same inside the container, where the status program on the host pings every 5 s."""

_BOOT = 'IFS= read -r text; eval "$(printf %b "$text")"'
_LAUNCH = (
    'read -r p </proc/self/stat; p=${p##*) }; p=${p#* }; p=${p#* }; [ "${p%% *}" = $$ ] || exec setsid /bin/sh -c "$1" "$0"; eval "$1"'
)

_COMMON = r"""
export LC_ALL=C
unset http_proxy HTTP_PROXY https_proxy all_proxy ALL_PROXY CDPATH
PATH=${PATH:-/usr/bin:/bin}:/usr/local/bin:/usr/sbin:/sbin:/snap/bin
mark=$0
set -f
tab='	'
nl='
'
heard=1 last=0 up=0 now=0

die() { trap '' TERM; kill 0; exit 1; }

clock() { read -r up _ </proc/uptime; now=${up%%.*}; }

# dead-man: ends everything when no ping was heard for $dead seconds
alive() {
  clock
  if [ -n "$heard" ]; then heard= last=$now; fi
  [ $((now - last)) -lt "$dead" ] || die
}

nap() { sleep "$1" 2>/dev/null || sleep 1 || die; }

if timeout -s KILL 5 true 2>/dev/null; then
  lim() { timeout -s KILL 3 "$@"; }
else
  lim() {
    "$@" & lim_pid=$!
    { sleep 3; kill -9 "$lim_pid"; } >/dev/null 2>&1 & lim_guard=$!
    wait "$lim_pid"; lim_code=$?
    kill "$lim_guard" 2>/dev/null
    return "$lim_code"
  }
fi

# flat TEXT MAX -> flattened: one line, bounded, no control characters
flat() {
  flattened=$1
  case $flattened in *[[:cntrl:]]*) flattened=$(printf '%s' "$flattened" | tr '\001-\037\177' ' ') ;; esac
  if [ ${#flattened} -gt "$2" ]; then flattened=$(printf '%s' "$flattened" | head -c "$2"); fi
}

# file_facts PATH -> id size changed; false where it cannot be looked at. The id is inode.birth where the birth is known.
case $(stat -L -c %.9W / 2>/dev/null) in
  '' | *[!0-9.]*) if stat -L -c %i / >/dev/null 2>&1; then stat_kind=plain; else stat_kind=none; fi ;;
  *) stat_kind=born ;;
esac
file_facts() {
  case $stat_kind in
    born) set -- $(stat -L -c '%i %s %Y %.9W' -- "$1" 2>/dev/null) ;;
    plain) set -- $(stat -L -c '%i %s %Y' -- "$1" 2>/dev/null) ;;
    none) set -- $(ls -Lnid -- "$1" 2>/dev/null); [ $# -lt 7 ] || set -- "$1" "$6" - ;;
  esac
  [ $# -ge 3 ] || return 1
  id=$1 size=$2 changed=$3
  case ${4--} in -* | 0.*) ;; *) id=$id.$4 ;; esac
}
"""

_LOOK = r"""
# tell NAME CODE TEXT [KEY]: says it only where the key (else code and text) is another than before
tell() {
  tell_key=${4-$2:$3}
  eval "tell_last=\${told_$1-}"
  [ "$tell_key" != "$tell_last" ] || return 0
  eval "told_$1=\$tell_key"
  say "$1" "$2" "$3"
}

# fetch URL -> code (exit status of the client), http (status, 000 without an answer), answer
fetch() {
  if command -v curl >/dev/null 2>&1; then
    answer=$(curl -s -m 3 --max-filesize 65536 -w "$tab%{http_code}" "$1" 2>/dev/null); code=$?
    http=${answer##*"$tab"} answer=${answer%"$tab"*}
  elif command -v wget >/dev/null 2>&1; then
    answer=$(lim wget -q -O - "$1" 2>&1); code=$? http=000
    [ "$code" != 0 ] || http=200
  else
    answer= http=000 code=127
  fi
}

# probe: every time while not ready, every third time when ready; the set-up page only while not ready
ready= probes=0
probe() {
  probes=$(((probes + 1) % 3))
  if [ -n "$ready" ] && [ "$probes" != 0 ]; then return 0; fi
  fetch "$probe_url"
  flat "$answer" 300
  tell probe "$code" "$http $flattened"
  if [ "$http" = 200 ]; then ready=1; tell page 0 ''; return 0; fi
  ready=
  fetch "$page_url"
  if [ "$http" = 200 ]; then flat "$answer" 1500; tell page 0 "$flattened"; else tell page 0 ''; fi
}

# ticks_of PID -> ticks: when it began (clock ticks since boot), empty where it is gone
ticks_of() {
  ticks= stat_line=
  { IFS= read -r stat_line <"/proc/$1/stat"; } 2>/dev/null || return 0
  set -- ${stat_line##*) }
  case ${1-Z} in Z | X | x) ;; *) ticks=${20-} ;; esac
}

# nested PID: lives in another PID namespace, that is in some container
nested() {
  while read -r key _ second _; do
    if [ "$key" = NSpid: ]; then [ -n "$second" ]; return; fi
  done <"/proc/$1/status"
  return 1
} 2>/dev/null

# scan: what pgrep -f does, for where it is missing: one look at all command lines
scan() {
  set +f
  head -c 4000 /proc/[0-9]*/cmdline 2>/dev/null | tr '\000' ' ' | pattern=$process awk '
    function judge() { sub(/ +$/, "", command); if (command != "" && command ~ ENVIRON["pattern"]) print pid; command = "" }
    /^==> \/proc\/[0-9]+\/cmdline <==$/ { judge(); split($2, part, "/"); pid = part[3]; next }
    { command = (command == "" ? "" : command " ") $0 }
    END { judge() }'
  set -f
}

# runner: looks for $process when none is known; a known one is only asked whether it lives. Shells count where nothing
# better matches, tools never; of several the oldest. With $skip_nested, processes inside containers do not count.
pid= began= looks=0
runner() {
  looks=$((looks + 1))
  if [ -n "$pid" ] && [ "$looks" -lt 15 ]; then
    ticks_of "$pid"
    [ "$ticks" != "$began" ] || return 0
  fi
  looks=0 pid= began= command= rank=9 code=0
  if command -v pgrep >/dev/null 2>&1; then
    list=$(lim /bin/sh -c 'exec pgrep -f -- "$1"' "$mark" "$process" 2>/dev/null); code=$?
    [ "$code" != 1 ] || code=0
  elif command -v awk >/dev/null 2>&1; then
    list=$(scan 2>/dev/null); code=$?
  else
    list= code=127
  fi
  if [ "$code" != 0 ]; then tell runner "$code" ''; return 0; fi
  for candidate in $list; do
    line=$(tr '\000-\037' ' ' 2>/dev/null <"/proc/$candidate/cmdline" | head -c 500)
    case $line in '' | *"$mark"*) continue ;; esac
    name=${line%% *}
    case ${name##*/} in
      docker* | podman* | nerdctl | conmon | containerd* | runc | sudo | su | timeout | tmux* | screen | SCREEN | ssh | sshd*) continue ;;
      pgrep | awk | grep | tail | less | more | vi | vim | nano | cat | tee | watch | xargs) continue ;;
      sh | bash | dash | ash | zsh | ksh | -sh | -bash) better=2 ;;
      *) better=1 ;;
    esac
    if [ -n "$skip_nested" ] && nested "$candidate"; then continue; fi
    ticks_of "$candidate"
    [ -n "$ticks" ] || continue
    if [ "$better" -lt "$rank" ] || { [ "$better" = "$rank" ] && [ "$ticks" -lt "$began" ]; }; then
      rank=$better pid=$candidate began=$ticks command=$line
    fi
  done
  tell runner 0 "${pid:+$pid $began $command}" "$pid $began"
}

# logs PATH...: told when one comes, goes, is another file, shrinks, or (once a minute) has grown
drops=0
logs() {
  found= found_key= place=0
  for path; do
    if [ -f "$path" ] && file_facts "$path"; then
      eval "before=\${size_$place-0}"
      [ "$size" -ge "$before" ] || drops=$((drops + 1))
      eval "size_$place=$size"
      found="$found$place $id $size $changed;"
      minute=$changed
      [ "$changed" = - ] || minute=$((changed / 60))
      [ "$size" -gt 0 ] || minute=empty
      found_key="$found_key$place $id $minute;"
    fi
    place=$((place + 1))
  done
  tell logs 0 "$found" "$drops $found_key"
}
"""

_INNER = (
    r"""
IFS= read -r tick; IFS= read -r dead; IFS= read -r process; IFS= read -r probe_url; IFS= read -r page_url; IFS= read -r log
"""
    + _COMMON
    + r"""
say() { printf '%s %s %s\n' "$1" "$2" "$3"; }
"""
    + _LOOK
    + r"""
skip_nested=
work() {
  trap 'heard=1' USR1
  say hello 0 1
  clock; beaten=$now
  while :; do
    alive
    runner
    [ -z "$log" ] || logs "$log"
    probe
    if [ $((now - beaten)) -ge 10 ]; then beaten=$now; say beat 0 ''; fi
    nap "$tick"
  done
}
{ work; die; } & worker=$!
while IFS= read -r _; do kill -USR1 "$worker" || break; done
die
"""
)

_STATUS = (
    r"""
IFS= read -r tick; IFS= read -r every; IFS= read -r slow; IFS= read -r dead
IFS= read -r engine; IFS= read -r container; IFS= read -r process; IFS= read -r probe_url; IFS= read -r page_url; IFS= read -r inner_log
IFS= read -r boot; IFS= read -r launch; IFS= read -r inner
IFS= read -r inner_tick; IFS= read -r inner_dead
set --
while IFS= read -r line && [ -n "$line" ]; do set -- "$@" "$line"; done
"""
    + _COMMON
    + r"""
# one record in one write (bash flushes at each newline): the workers share the output
say() { printf '@%s %s %s %s\n' "$1" "$2" "${#3}" "$3"; }
"""
    + _LOOK
    + r"""
skip_nested=$container

# beside OLD NEW STEP: NEW is so near to OLD that it is not worth saying
beside() { [ -n "$1" ] && [ $(($1 - $2)) -lt "$3" ] && [ $(($2 - $1)) -lt "$3" ]; }

hz=$(getconf CLK_TCK 2>/dev/null) || hz=100
shown_disk= shown_memory= shown_clock=
machine() {
  boot_id= total=0 free=
  { read -r boot_id </proc/sys/kernel/random/boot_id; } 2>/dev/null
  while read -r key value _; do
    case $key in MemTotal:) total=$value ;; MemAvailable:) free=$value; break ;; esac
  done </proc/meminfo
  booted=$(sed -n 's/^btime //p' /proc/stat)
  disk=$(lim df -P -k / 2>/dev/null) || disk=
  set -- ${disk##*"$nl"}
  used=${3-0} left=${4-0}
  case $used$left in *[!0-9]*) used=0 left=0 ;; esac
  date=$(date +%s.%N)
  clock
  share=$((used + left > 0 ? used * 1000 / (used + left) : 0))
  beside "$shown_disk" "$share" 10 || shown_disk=$share
  if [ -z "$free" ]; then
    shown_memory=-
  else
    share=$(((total - free) * 100 / total))
    beside "$shown_memory" "$share" 5 || shown_memory=$share
  fi
  share=$((${date%%.*} - now))
  beside "$shown_clock" "$share" 2 || shown_clock=$share
  tell machine 0 "$boot_id $booted $used $left $shown_memory $date $up $hz" "$boot_id $shown_disk $shown_memory $shown_clock"
}

beat() { beaten=$now; say beat 0 "$up"; }
# between two collectors, each of which may take 3 s
still_here() { clock; [ $((now - beaten)) -lt 2 ] || beat; }

watch() {
  trap 'heard=1' USR1
  clock
  beat
  round=0 turn=0
  while :; do
    alive
    if [ -n "$keeper" ]; then ticks_of "$keeper"; [ -n "$ticks" ] || die; fi
    if [ "$round" -le 0 ]; then
      round=$every
      if [ "$turn" -le 0 ]; then turn=5; machine; still_here; fi
      turn=$((turn - 1))
      runner; still_here
      logs "$@"; still_here
      if [ -z "$container" ]; then probe; fi
    fi
    round=$((round - 1))
    clock; beat
    nap "$tick"
  done
}

# The look inside lives as long as the container does: one exec, which ends with its input.
session() {
  {
    printf '%s\n' "$inner" "$inner_tick" "$inner_dead" "$process" "$probe_url" "$page_url" "$inner_log"
    sleep 5
    while echo; do sleep 5; done
  } 2>/dev/null | {
    "$engine" exec -i "$1" /bin/sh -c "$launch" "$mark" "$boot" 2>&1
    echo "end $?"
  } | {
    while IFS= read -r line; do [ ${#line} -gt 3000 ] || say inner 0 "$line"; done
    kill -USR1 "$self"
  }
}

format="@@{{.State.Status}}$tab{{.Id}}$tab{{.Config.Image}}$tab{{.State.StartedAt}}$tab{{.State.ExitCode}}"
keep() {
  read -r self _ </proc/self/stat
  live= opened=-9
  trap 'live=' USR1
  while :; do
    out=$(lim "$engine" container inspect --format "$format" "$container" 2>&1); code=$?
    state= pause=$tick
    case $out in
      *@@*)
        line=${out##*@@} line=${line%%"$nl"*} state=${line%%"$tab"*} rest=${line#*"$tab"}
        tell container 0 "$line" ;;
      *)
        flat "$out" 600
        tell container "$code" "$flattened" ;;
    esac
    if [ "$state" = running ]; then
      clock
      if [ -n "$live" ]; then
        pause=$slow
      elif [ $((now - opened)) -ge 3 ]; then
        live=1 opened=$now
        session "${rest%%"$tab"*}" &
      fi
    fi
    sleep "$pause" & wait $!
  done
}

# what comes before this is taken for the login's chatter
say hello 0 1
keeper=
if [ -n "$container" ]; then { keep; die; } & keeper=$!; fi
{ watch "$@"; die; } & worker=$!
while IFS= read -r _; do kill -USR1 "$worker" || break; done
die
"""
)

_FOLLOW = (
    r"""
IFS= read -r nonce; IFS= read -r tick; IFS= read -r dead; IFS= read -r path; IFS= read -r want; IFS= read -r offset
"""
    + _COMMON
    + r"""
mark() { printf '\000@%s %s\n' "$nonce" "$1"; }
fail() { mark "E $1"; die; }
place() { while read -r key value; do if [ "$key" = pos: ]; then position=$value; fi; done </proc/self/fdinfo/3; }

# begin: opens what lies at the path now and tells whose bytes follow
opened=
begin() {
  [ -e "$path" ] || return 0
  [ -f "$path" ] || fail 'kind'
  [ -r "$path" ] || fail 'denied'
  command exec 3<"$path" || fail 'denied'
  file_facts /proc/self/fd/3 || fail 'stat'
  opened=$id
  if [ -n "$want" ] && [ "$id" = "$want" ] && [ "$size" -ge "$offset" ]; then
    mark "B $id"
    tail -c "+$((offset + 1))" <&3
  else
    mark "R $id"
    cat <&3
  fi
  want=
}

# step: hands on what is new. The open file is read to its end before another one is taken, and another one is taken only once
# something stands in it: until then the writer may still be with the old one.
step() {
  if [ -z "$opened" ]; then begin; return; fi
  if ! { [ -f "$path" ] && file_facts "$path"; }; then cat <&3; return; fi
  if [ "$id" != "$opened" ]; then
    cat <&3
    if [ "$size" -gt 0 ]; then begin; fi
    return
  fi
  place
  if [ "$size" -gt "$position" ]; then cat <&3; elif [ "$size" -lt "$position" ]; then begin; fi
}

drain() {
  trap 'heard=1' USR1
  mark H
  while :; do
    alive
    step
    # any line of the waker will do, and many of them count once
    case $(dd bs=65536 count=1 2>&1 >/dev/null) in 0+0*) die ;; esac
  done
}

# tail only wakes (at once where it has inotify): what it prints is dropped, the bytes are read from the open file
{
  { tail -n 0 -F "$path" 2>&1 & } 2>/dev/null
  while echo; do nap "$tick"; done
} | { drain; die; } & worker=$!
while IFS= read -r _; do kill -USR1 "$worker" || break; done
die
"""
)

_CONTAINER_LOG = (
    r"""
IFS= read -r nonce; IFS= read -r tick; IFS= read -r dead; IFS= read -r want; IFS= read -r offset
IFS= read -r engine; IFS= read -r container
"""
    + _COMMON
    + r"""
mark() { printf '\000@%s %s\n' "$nonce" "$1"; }
fail() { flat "$2" 600; mark "E $1 $flattened"; die; }
guard() {
  trap 'heard=1' USR1
  mark H
  while :; do alive; nap "$tick"; done
}
# the log of one container as one stream of bytes: both its outputs, in the order they were written
print() { "$engine" logs -f -t "$1" 2>&1; }
follow() {
  out=$(lim "$engine" container inspect --format '@@{{.Id}}@@' "$container" 2>&1); code=$?
  case $out in *@@*@@*) id=${out#*@@} id=${id%%@@*} ;; *) fail "$code" "$out" ;; esac
  out=$(lim "$engine" logs --tail 1 "$id" 2>&1 >/dev/null </dev/null); code=$?
  [ "$code" = 0 ] || fail "$code" "$out"
  if [ -n "$want" ] && [ "$id" = "$want" ]; then mark "B $id"; else mark "R $id"; offset=0; fi
  if [ "$offset" = 0 ]; then
    print "$id"
  elif [ "$(printf abcdef | { head -c 3 >/dev/null; cat; })" = def ]; then
    print "$id" | { head -c "$offset" >/dev/null; cat; }
  else
    print "$id" | tail -c "+$((offset + 1))"
  fi
  mark 'E 0'
}
{ guard; die; } & worker=$!
{ follow; die; } &
while IFS= read -r _; do kill -USR1 "$worker" || break; done
die
"""
)

_NEWEST = (
    "export LC_ALL=C; one=$1 two=$2 cap=$3; shift 3; "
    'find "$@" -maxdepth 12 -type f \\( -path "$one" -o -path "$two" \\) -exec /bin/sh -c '
    '\'cap=$1; shift; for file; do if [ -z "$new" ] || [ "$file" -nt "$new" ]; then new=$file; fi; done; '
    'printf =; head -c "$cap" -- "$new"\' "$0" "$cap" {} + 2>/dev/null; exit 0'
)


def launch_command(prefix: Iterable[str] = ()) -> str:
    """The command line that runs a program of this module; ``prefix`` are the words of a command to run it under."""
    return "exec " + shlex.join([*prefix, "/bin/sh", "-c", _LAUNCH, MARK, _BOOT])


def status_input(
    spec: VmSpec, *, tick_s: float, every: int, slow_s: float, host_logs: Iterable[str], inner_log: str, dead_s: int = DEAD_S
) -> bytes:
    """What the status program is told: first itself, then its settings.

    ``tick_s`` is the time between two heartbeats, a look is taken at every ``every``-th; a running container is asked about
    every ``slow_s`` seconds. ``host_logs`` and ``inner_log`` are the paths to look for ("" for none).
    """
    inner_tick = _seconds(tick_s * every)
    return _lines(
        _encoded(_STATUS),
        *(_seconds(tick_s), str(every), _seconds(slow_s), str(dead_s)),
        *(spec.engine, spec.container, spec.process),
        *(probe_url(spec), page_url(spec), inner_log),
        *(_BOOT, _LAUNCH, _encoded(_INNER), inner_tick, str(INNER_DEAD_S)),
        *host_logs,
        "",
    )


def follow_input(*, nonce: str, path: str, identity: str, offset: int, tick_s: float, dead_s: int = DEAD_S) -> bytes:
    """What the program that follows a file is told. Its output: see ``waa.probes.follow``."""
    return _lines(_encoded(_FOLLOW), nonce, _seconds(tick_s), str(dead_s), path, identity, str(offset))


def container_log_input(spec: VmSpec, *, nonce: str, identity: str, offset: int, tick_s: float, dead_s: int = DEAD_S) -> bytes:
    """What the program that follows the container's own log is told."""
    return _lines(_encoded(_CONTAINER_LOG), nonce, _seconds(tick_s), str(dead_s), identity, str(offset), spec.engine, spec.container)


def result_command(*, domain: str, task_id: str, roots: Iterable[str], prefix: Iterable[str] = ()) -> str:
    """The command that prints ``=`` and the newest ``*/<domain>/<task_id>/result.txt`` below ``roots``, or nothing."""
    pattern = f"*/{literal(domain)}/{literal(task_id)}/result.txt"
    return "exec " + shlex.join([*prefix, "/bin/sh", "-c", _NEWEST, MARK, pattern, pattern, "4096", *roots])


def screenshot_command(*, domain: str, task_id: str, roots: Iterable[str], max_bytes: int, prefix: Iterable[str] = ()) -> str:
    """The command that prints ``=`` and the newest screenshot of a task below ``roots``, cut at ``max_bytes``, or nothing.

    WAA names them ``screenshot-step_*``, OSWorld ``step_*``.
    """
    folder = f"*/{literal(domain)}/{literal(task_id)}"
    patterns = (f"{folder}/screenshot*.png", f"{folder}/step_*.png")
    return "exec " + shlex.join([*prefix, "/bin/sh", "-c", _NEWEST, MARK, *patterns, str(max_bytes), *roots])


def probe_url(spec: VmSpec) -> str:
    """Address of the WAA server's ``/probe``, as seen from the container (or the host, where there is none)."""
    return f"http://{_bracketed(spec.guest_ip)}:{spec.waa_port}/probe"


def page_url(spec: VmSpec) -> str:
    """Address of the container's status page while Windows is prepared."""
    return f"http://127.0.0.1:{spec.vnc_port}/msg.html"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def literal(name: str) -> str:
    """A name as a pattern of ``find -path`` that matches nothing else."""
    return "".join("\\" + letter if letter in "*?[]\\" else letter for letter in name)


def _encoded(program: str) -> str:
    """One line that ``printf %b`` turns back into the program."""
    return program.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _lines(*values: str) -> bytes:
    return "".join(value + "\n" for value in values).encode(errors="surrogateescape")
