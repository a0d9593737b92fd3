#!/bin/sh
# deploy/nightly.sh COMMAND...: a night's command, run again while running it again can help.
#
# A night is published or not by its `_SUCCESS`, and the command looks there first: run again after it is published it
# does nothing and exits 0. So its exit code is the judge:
#   0, 2, 3, 5, 6 and all else   an answer, handed on at once
#   4                            storage or cluster failed, or a signal asked for the end
#   1, 128 and more              killed; Ray ends a driver whose machine dies
# The last three are tried NIGHTLY_ATTEMPTS times in all (5), NIGHTLY_PAUSE_SECONDS apart (60, doubled each time).
set -u
attempts=${NIGHTLY_ATTEMPTS:-5}
pause_seconds=${NIGHTLY_PAUSE_SECONDS:-60}

attempt=1
while :; do
    "$@"
    code=$?
    case $code in
        1 | 4) ;;
        *) [ "$code" -ge 128 ] || exit "$code" ;;
    esac
    if [ "$attempt" -ge "$attempts" ]; then
        echo "nightly: exit code $code in attempt $attempt of $attempts; giving up, run it again later" >&2
        exit "$code"
    fi
    echo "nightly: exit code $code in attempt $attempt of $attempts; again in $pause_seconds s" >&2
    sleep "$pause_seconds"
    attempt=$((attempt + 1))
    pause_seconds=$((pause_seconds * 2))
done
