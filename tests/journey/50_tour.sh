# The README's tour, command by command, as it is printed there.
# shellcheck shell=bash

kill_plane TERM
unset SLIPWAY_NODES
export SLIPWAY_DATA_DIR="$work/tour"
start_plane
eventually 10 answers
tour() {
  # The tour's blocks run in one shell, in a folder of their own, with the URL of this plane. Its wait for the job has no end of its own.
  sed -n '/<!-- tour -->/,/<!-- \/tour -->/p' README.md | sed -n '/^```bash$/,/^```$/{/^```/!p}' |
    sed "s|http://127.0.0.1:8000|$API_URL|" >"$work/tour.sh"
  [ -s "$work/tour.sh" ] && (cd "$work" && HOME="$work" timeout 120 bash -euo pipefail tour.sh)
}
check "the tour works" tour
