#!/bin/sh
# Waits until the address answers, then compares what it says.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    if answer=$(wget -q -O - "$1"); then
        echo "$1 says: $answer"
        test "$answer" = "it works"
        exit
    fi
    sleep 0.5
done
echo "$1 does not answer" >&2
exit 1
