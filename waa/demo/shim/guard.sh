# Reads "+ PID" and "- PID" lines. At end of input (the server closed it, or died) kills the sessions still listed.
trap '' HUP INT TERM
live=' '
while read -r sign pid; do
    case $sign in
        +) live="$live$pid " ;;
        -) case $live in *" $pid "*) live="${live%%" $pid "*} ${live#*" $pid "}" ;; esac ;;
    esac
done
for pid in $live; do
    kill -KILL -- "-$pid"
    pkill -KILL -s "$pid"
done 2>/dev/null
