# Virtual environments for what reads and emulates AWS, kept under ~/.cache/slipway and made anew when their pins change.
# shellcheck shell=bash

# environment NAME: installs what tests/deployed/NAME.txt pins, and prints the folder of its programs.
environment() {
  local pins="tests/deployed/$1.txt" folder
  folder="$HOME/.cache/slipway/$1-$(sha256sum "$pins" | cut -c1-12)"
  if [ ! -e "$folder/ready" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$pins" >&2
    touch "$folder/ready"
  fi
  printf '%s/bin\n' "$folder"
}
