#!/bin/sh
# deploy/nightly.sh COMMAND...: runs the command of a night, and runs it again if that can help.
#
# The command first looks at the `_SUCCESS` of the night. If the night is published, the command does nothing and exits 0.
# So one run too many does no harm. The exit code decides:
#   0, 2, 3, 5, 6 and all others   the script ends with this code at once
#   4                              storage or cluster failed, or a signal ended the job: run again
#   1, 128 and more                the job was killed, or its machine died: run again
# The script makes NIGHTLY_ATTEMPTS attempts (5). The first pause is NIGHTLY_PAUSE_SECONDS (60), and each next pause is
# twice as long.
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
