# Reads "+ PID" and "- PID" lines. At end of input (the server closed it, or died) kills the sessions still listed, and
# then every process whose environment has the mark $1.
trap '' HUP INT TERM
live=' '
while read -r sign pid; do
    case $sign in
        +) live="$live$pid " ;;
        -) case $live in *" $pid "*) live="${live%%" $pid "*} ${live#*" $pid "}" ;; esac ;;
    esac
done
exec 2>/dev/null
for pid in $live; do kill -9 "-$pid"; done # no "--": not every shell's kill knows it
for _ in 1 2 3 4 5; do
    found=$(grep -lF -e "$1" /proc/[0-9]*/environ) # its status also tells of files that went away meanwhile
    [ -n "$found" ] || break
    for file in $found; do
        pid=${file#/proc/}
        kill -9 "${pid%/environ}"
    done
done
