#!/bin/sh
# What the key of WAA Live may do on this machine, and nothing else: run the programs that this release sends.
#
#   install -m 755 forced-command.sh /usr/local/bin/waa-live-command
#   ~/.ssh/authorized_keys of the user that WAA Live logs in as:
#     restrict,command="/usr/local/bin/waa-live-command" ssh-ed25519 AAAA... waa-live
#
# `restrict` turns off forwarding (so this machine is no jump host), terminals and start-up files. This script then admits a command only
# if its program is one of those below, by its SHA-256, and its words are of the kind that the program takes; nothing that was sent is
# parsed by a shell before that. Whoever has the key can then see what WAA Live can see: the state of one container and of the
# machine, command lines, and files in the folders named here. It cannot get a shell, write, delete, or reach the network
# through this machine.
#
# It does not protect: what lies readable in those folders; the machine, where the account itself may use docker (membership in its group is as
# good as root: a hole in docker's command line would be enough); the time and memory of this machine. The account needs no
# password, no sudo, and no write permission anywhere. Without the docker group set `engine` to a script of root's, allowed by sudo,
# that passes on `container inspect`, `logs` and `exec` for the one container; or use a rootless Podman of this account's own.
#
# After an update of WAA Live install its forced-command.sh too: programs that changed are refused until then, and the page says so.
set -uf
export LC_ALL=C
PATH=/usr/local/bin:/usr/bin:/bin

# Where WAA Live may look. Folders hold no blanks; what lies below them counts.
engine=docker
container=winarena
readable='/tmp /home /mnt'
inside='/tmp /client /results'

digest_of() { # NAME: the programs of this release
  case $1 in
    launch) echo ebff50abccdfacd147147ef34ca259887bf5d0372ed1afdd7656ed74a8a9a6f8 ;;
    boot) echo ffd332af4ed7bf7c47599abac624a8e73ef47039e86a0110a3ca2b5f188a56f4 ;;
    inner) echo 2b0e4f62561c81abace5de90ba0fe4af5742900f66d7889df402d0de84a4c780 ;;
    pick) echo 12847edf6e0e29b87ebd2e01361b28d3e4f29ad925ec5dc57fa7de1209b0a56f ;;
    status) echo 7ab873cecab5a4e1b374bf6f2ccabbb43929ffb511ed27951d2cd66b21a6bf1d ;;
    follow) echo 620a8a7575322f3e8af1bc4376a1b09fbaebe5d570f93850433d8350c22cb87e ;;
    container) echo 73f9940d7ed369b0a5ddfa559e17028fe118cba327b2bfd2ef1c2010db1185ef ;;
    newest) echo e29add0a18930afd24aff82f5c0e5c2e54949f467b36d76a70dc832efccdf3ce ;;
    sums) echo e75378094abe2819e33e7213bc6ad725e5ff881c07f178aca1c3f97f2bb5e5af ;;
    folder) echo 6ca7c1ce389d7f5a16cabe574e28ce4e6909c68847d4bd0f10f8fe32150bd1ad ;;
    file) echo 2ce4b8ed7c6e96d02b46280e04d1512e4fd684daf6450f0d0e6237ba0df6fb0b ;;
    first) echo 13479f8aca9b995932f74d96483049e6e3d9d44f43320ff4015326385b56f0f1 ;;
    range) echo 14db2b0293396d06234b756326bc744071f6248fc04e243394a981cc77b4d417 ;;
    container_range) echo 17d69bfb7ef2a33877ea110d9bc5f3187fda77bc3a413eb8b6bbbaa916213ed5 ;;
    list) echo 389a3089c0b3937cfd2e5dc38e369f7b564e9f38744c0b5580b3d0e76e40ec4d ;;
    send) echo e6ccb98f709392432b25037561ed1baa6a7a704187c44f08f2247d9f4416d1d2 ;;
  esac
}

mark=waa-live-watch
nl='
'

refuse() {
  echo "refused by the forced command: $1" >&2
  exit 126
}

is() { # NAME TEXT: it is that program
  sum=$(printf '%s' "$2" | sha256sum) || refuse 'there is no sha256sum'
  [ "${sum%% *}" = "$(digest_of "$1")" ]
}

need() { # NAME TEXT
  is "$1" "$2" || refuse "this $1 is not the one of this release: install the forced-command.sh of the WAA Live that asks"
}

number() { case $1 in '' | *[!0-9.]* | *.*.*) refuse "'$1' is not a number" ;; esac; }

path() { # PATH FOLDERS: it lies below one of them
  case $1/ in *"$nl"* | */../*) refuse 'a path leads upwards' ;; esac
  for allowed in $2; do
    case $1/ in "${allowed%/}"/*) return ;; esac
  done
  refuse "'$1' is not below $2"
}

pattern() { case $1 in \*/*) ;; *) refuse "'$1' is not a pattern" ;; esac; }

same() { [ "$1" = "$2" ] || refuse "'$1' is not $2"; }

# take_word: the first word of $rest, written as `shlex.join` writes it, goes to $word; nothing in it is expanded
take_word() {
  word=
  while :; do
    case $rest in
      \'*)
        rest=${rest#?}
        case $rest in *\'*) ;; *) refuse 'a quotation does not end' ;; esac
        word=$word${rest%%\'*} rest=${rest#*\'}
        ;;
      \"\'\"*) word=$word\' rest=${rest#???} ;;
      [A-Za-z0-9_@%+=:,./-]*)
        bare=${rest%%[!A-Za-z0-9_@%+=:,./-]*}
        word=$word$bare rest=${rest#"$bare"}
        ;;
      ' '*) rest=${rest#?}; return ;;
      '') return ;;
      *) refuse 'the command is not one of WAA Live' ;;
    esac
  done
}

# expect TEXT...: the next words are these
expect() {
  for wanted; do take_word; [ "$word" = "$wanted" ] || refuse 'the command is not one of WAA Live'; done
}

take_line() { # NAME: a line of standard input
  IFS= read -r "$1" || refuse 'the input ended'
  eval "lines=\$lines\$$1\$nl"
}

# A program that comes over standard input: itself, then its settings, then pings.
stream() { # WHERE ("host" or "container")
  need launch "$launch"
  need boot "$boot"
  lines=
  take_line program
  if is follow "$program"; then
    for name in nonce tick dead file identity offset; do take_line "$name"; done
    if [ "$1" = host ]; then path "$file" "$readable"; else path "$file" "$inside"; fi
    number "$tick"; number "$dead"; number "$offset"
  elif [ "$1" = container ]; then
    need follow "$program"
  elif is container "$program"; then
    for name in nonce tick dead identity offset its_engine its_container; do take_line "$name"; done
    same "$its_engine" "$engine"; same "$its_container" "$container"
    number "$tick"; number "$dead"; number "$offset"
  else
    need status "$program"
    status
  fi
  if [ "$1" = host ]; then set --; else set -- "$engine" exec -i "$container"; fi
  { printf '%s' "$lines"; exec cat; } | "$@" /bin/sh -c "$launch" "$mark" "$boot"
}

status() {
  for name in tick every slow dead its_engine its_container process probe page file its_boot its_launch inner inner_tick inner_dead; do
    take_line "$name"
  done
  for value in "$tick" "$every" "$slow" "$dead" "$inner_tick" "$inner_dead"; do number "$value"; done
  same "$its_engine" "$engine"
  [ -z "$its_container" ] || same "$its_container" "$container"
  guest=${probe#http://} guest=${guest%/probe} guest=${guest#[} port=${page#http://127.0.0.1:} port=${port%/msg.html}
  case $guest in *[!]A-Za-z0-9.:_-]*) refuse "'$probe' is not asked" ;; esac
  case $port in '' | *[!0-9]*) refuse "'$page' is not asked" ;; esac
  [ "$probe" = "http://$guest/probe" ] || [ "$probe" = "http://[$guest/probe" ] || refuse "'$probe' is not asked"
  [ "$page" = "http://127.0.0.1:$port/msg.html" ] || refuse "'$page' is not asked"
  [ -z "$file" ] || path "$file" "$inside"
  need boot "$its_boot"; need launch "$its_launch"; need inner "$inner"
  file=.
  while [ -n "$file" ]; do
    take_line file
    [ -z "$file" ] || path "$file" "$readable"
  done
}

# A program that is given by words, and runs to its end.
once() { # WHERE PROGRAM WORD...
  if [ "$1" = host ]; then folders=$readable; else folders=$inside; fi
  where=$1 program=$2
  shift 2
  if is newest "$program" || is sums "$program"; then
    [ $# -gt 3 ] || refuse 'too few words'
    pattern "$1"; pattern "$2"; number "$3"
    arguments_from=4
  elif is folder "$program"; then
    [ $# -gt 9 ] || refuse 'too few words'
    case $1 in '' | *[!0-9a-f]*) refuse 'not a nonce' ;; esac
    number "$2"; number "$3"; number "$4"; number "$5"; number "$6"; pattern "$7"; pattern "$8"; pattern "$9"
    arguments_from=10
  elif is file "$program"; then
    [ $# = 3 ] || refuse 'not three words'
    path "$1" "$folders"; number "$3"
    case /$2/ in */../* | //*) refuse 'a path leads upwards' ;; esac
    arguments_from=99
  elif is first "$program"; then
    [ $# -gt 1 ] || refuse 'too few words'
    number "$1"
    arguments_from=2
  elif is range "$program"; then
    [ $# = 6 ] || refuse 'not six words'
    need pick "$1"; number "$4"; path "$5" "$folders"; number "$6"
    arguments_from=99
  elif is container_range "$program"; then
    [ $# = 8 ] || refuse 'not eight words'
    need pick "$1"; number "$4"; same "$5" "$engine"; same "$6" "$container"; number "${7#-}"; [ -z "$8" ] || number "$8"
    arguments_from=99
  elif is list "$program"; then
    [ $# = 2 ] || refuse 'not two words'
    path "$1" "$folders"; number "$2"
    arguments_from=99
  else
    need send "$program"
    path "$1" "$folders"
    arguments_from=99
    place=0
    for file; do
      place=$((place + 1))
      [ "$place" -gt 1 ] || continue
      case $file/ in *"$nl"* | */../*) refuse 'a path leads upwards' ;; ./*) ;; *) refuse "'$file' is not below the folder" ;; esac
    done
  fi
  place=0
  for file; do
    place=$((place + 1))
    [ "$place" -lt "$arguments_from" ] || path "$file" "$folders"
  done
  set -- /bin/sh -c "$program" "$mark" "$@"
  [ "$where" = host ] || set -- "$engine" exec "$container" "$@"
  exec 3<&0 </dev/null
  { read -r _ <&3; trap '' TERM; kill 0; } >/dev/null 2>&1 & guard=$!
  "$@" 3<&-
  code=$?
  kill "$guard" 2>/dev/null
  exit "$code"
}

rest=${SSH_ORIGINAL_COMMAND-}
expect exec /bin/sh -c
take_word
[ -z "$rest" ] || refuse 'the command is not one of WAA Live'
rest=$word
before="exec 3<&0 </dev/null; { read -r _ <&3; trap '' TERM; kill 0; } >/dev/null 2>&1 & w=\$!; /bin/sh -c "
after=" 3<&-; s=\$?; kill \$w 2>/dev/null; exit \$s"
case $rest in
  "$before"*"$after")
    rest=${rest#"$before"} rest=${rest%"$after"}
    take_word
    [ -z "$rest" ] || refuse 'the command is not one of WAA Live'
    rest=$word
    kind=once
    ;;
  *) kind=stream ;;
esac
where=host
expect exec
take_word
if [ "$word" = "$engine" ]; then
  where=container
  if [ "$kind" = stream ]; then expect exec -i "$container" /bin/sh; else expect exec "$container" /bin/sh; fi
elif [ "$word" != /bin/sh ]; then
  refuse "'$word' is not run"
fi
expect -c
take_word; launch=$word
expect "$mark"
if [ "$kind" = stream ]; then
  take_word; boot=$word
  [ -z "$rest" ] || refuse 'the command is not one of WAA Live'
  stream "$where"
else
  set --
  while [ -n "$rest" ]; do take_word; set -- "$@" "$word"; done
  once "$where" "$launch" "$@"
fi
