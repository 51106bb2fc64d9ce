# Waits beside a test run until the run is over, however it ends, and then removes what it left:
# its stdin is a pipe whose other end only the test process holds, so EOF means that it has ended.
# Lines: "+PID" lists a process group, "-PID" takes it off the list. $1 is the run's folder, $2 is
# "keep" to keep the folder.
trap '' INT TERM HUP QUIT
listed=' '
while IFS= read -r line; do
    pid=${line#?}
    case $line in
    +*) listed="$listed$pid " ;;
    -*)
        case $listed in
        *" $pid "*) listed="${listed%%" $pid "*} ${listed#*" $pid "}" ;;
        esac
        ;;
    esac
done
for pid in $listed; do
    kill -s KILL -- "-$pid"
done
for pid in $listed; do
    tries=0
    while kill -s 0 -- "-$pid" && [ "$tries" -lt 50 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
done
[ "$2" = keep ] || rm -rf -- "$1" || { sleep 1 && rm -rf -- "$1"; }
