# The programs of the lane: virtual environments, and what is built from here.
# shellcheck shell=bash
# shellcheck source=environments.sh
. tests/deployed/environments.sh
lane=$(environment lane)
lint=$(environment lint)
bootstraps=${SLIPWAY_BOOTSTRAPS:-${CARGO_TARGET_DIR:-target}/lambda}
agent=${SLIPWAY_AGENT:-${CARGO_TARGET_DIR:-target}/release/slipway-agent}
# EC2's SDK is among what is built: minutes and gigabytes the first time. SLIPWAY_BOOTSTRAPS and SLIPWAY_AGENT name what is built already.
if [ -z "${SLIPWAY_BOOTSTRAPS:-}" ]; then
  surfaces=()
  for surface in functions/*/; do surfaces+=(-p "$(basename "$surface")"); done
  PATH="$lane:$PATH" cargo-lambda lambda build --profile lambda --locked --features lambda "${surfaces[@]}"
fi
[ -n "${SLIPWAY_AGENT:-}" ] || cargo build --release --locked -p agent --features program
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/deployed
