#!/bin/sh
# Deletes the servers' temporary directories when the test process is gone, however it ended.
#
# The test process holds the other end of this standard input and writes `add DIR` and `keep DIR` lines.
# The pipe closes with the process, also after a SIGKILL; the servers die then by their parent-death signal.
added=
while read -r verb dir; do
    case $verb in
    add) added="$added$dir
" ;;
    keep) added=$(printf '%s' "$added" | grep -Fxv -- "$dir")"
" ;;
    esac
done
printf '%s' "$added" | while read -r dir; do
    # A server may still be writing for a moment: try again for five seconds.
    tries=0
    while [ -n "$dir" ] && [ -d "$dir" ] && [ "$tries" -lt 50 ]; do
        rm -rf -- "$dir" 2>/dev/null
        [ ! -d "$dir" ] || sleep 0.1
        tries=$((tries + 1))
    done
done
