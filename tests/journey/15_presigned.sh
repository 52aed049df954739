# The README's login with a request that botocore has signed.
# shellcheck shell=bash

sed -n '/<!-- presigned -->/,/<!-- \/presigned -->/p' README.md | sed -n '/^```python$/,/^```$/{/^```/!p}' >"$work/presigned.py"
presigned() { # presigned SESSION: prints a URL of this person's.
  env AWS_ACCESS_KEY_ID=ASIAIOSFODNN7EXAMPLE AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIexamplekey AWS_SESSION_TOKEN="local:$1" \
    "$botocore/bin/python" "$work/presigned.py"
}
log_in_with() { # log_in_with URL: prints the status; the answer is in a file.
  curl -s -o "$work/logged_in" -w '%{http_code}' "$API_URL/v1/auth/aws-login" -H 'Content-Type: application/json' \
    -d "$(jq -n --arg url "$1" '{presigned_url: $url}')"
}
url=$(presigned jschmidt)
signed_in() { [ "$(log_in_with "$url")" = 200 ] && [ "$(jq -r .username "$work/logged_in")" = jschmidt ]; }
check 'it logs its signer in' signed_in
used_up() { [ "$(log_in_with "$url")" = 401 ] && grep -q 'used before' "$work/logged_in"; }
check 'it does so once' used_up
