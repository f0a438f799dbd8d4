#!/bin/sh
# Moves a route's weight from outside, as a traffic router does, and asks after each step what has come of it.
#
#   SLUICE_ADMIN=https://sluice:9900 SLUICE_TOKEN=... drive.sh ROUTE WEIGHT [WEIGHT ...]
#
# Exits 0 when the analysis was Successful at every weight, 1 when it Failed or a weight was refused, 3 when it stays Inconclusive. INTERVAL: seconds
# between two looks; LOOKS: how many there are at a weight.
set -eu

route=$1
shift

# call PATH [BODY]: the token comes in on standard input, where a list of processes does not show it.
call() {
  path=$1
  shift
  if [ $# -gt 0 ]; then set -- --header "content-type: application/json" --data "$1"; fi
  printf 'authorization: Bearer %s\n' "$SLUICE_TOKEN" |
    curl --silent --show-error --fail-with-body --max-time 10 --header @- "$@" "$SLUICE_ADMIN/v1/routes/$route/$path"
}

# field NAME: of the JSON on standard input.
field() {
  tr -d '\n' | sed -n "s/.*\"$1\": *\"\{0,1\}\([A-Za-z]*\).*/\1/p"
}

for weight in "$@"; do
  call set-weight "{\"desiredWeight\": $weight, \"reason\": \"${REASON:-by the pipeline}\"}" || exit 1
  echo
  look=0
  while :; do
    said=$(call analysis)
    echo "$said"
    result=$(echo "$said" | field result)
    [ "$result" != Failed ] || exit 1
    verified=$(call verify-weight "{\"desiredWeight\": $weight}" | field verified)
    if [ "$result" = Successful ] && [ "$verified" = true ]; then break; fi
    look=$((look + 1))
    [ "$look" -lt "${LOOKS:-30}" ] || exit 3
    sleep "${INTERVAL:-10}"
  done
done
