#!/bin/sh
# The system packages of the tests: install them where that is allowed (root on Debian), else say exactly which.
set -u

packages=""
need() { # need COMMAND PACKAGE...
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || packages="$packages $2"
}
need chromium chromium
need podman podman
need runc runc
need sshd openssh-server
need ssh openssh-client
need nginx nginx-light
need ip iproute2
need pgrep procps
need curl curl
# Debian keeps PostgreSQL's own programs outside of the PATH.
command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages="$packages postgresql"
[ -x /bin/busybox ] || [ -x /usr/bin/busybox ] || packages="$packages busybox-static"
# The busybox that containers of the tests run must need no library.
[ -n "$packages" ] || ! ldd "$(command -v busybox)" >/dev/null 2>&1 || packages="$packages busybox-static"

# Not every Debian has them: tests of caddy are skipped without it, and the other tests of the browser take longer.
optional=""
for one in caddy chromium-headless-shell; do
    command -v "$one" >/dev/null 2>&1 || optional="$optional $one"
done

[ -z "$packages$optional" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$packages$optional"
    export DEBIAN_FRONTEND=noninteractive
    case "$packages" in
    *postgresql*) # the tests make clusters of their own; without this Debian makes and starts one for good
        mkdir -p /etc/postgresql-common
        [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
        ;;
    esac
    apt-get update -qq >/dev/null
    for one in $optional; do
        apt-get install -y -qq --no-install-recommends "$one" >/dev/null 2>&1 || echo "without $one"
    done
    [ -z "$packages" ] && exit 0
    apt-get install -y -qq --no-install-recommends $packages >/dev/null && exit 0
    echo "installation failed; install by hand:$packages" >&2
    exit 1
fi
[ -z "$packages" ] && exit 0
echo "The tests need these packages (Debian's names), and this user may not install them:$packages" >&2
echo "Run: sudo apt-get install --no-install-recommends$packages" >&2
exit 1
