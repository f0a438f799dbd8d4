#!/bin/sh
# A rollout as one step of a pipeline: checks, start, and the end that it comes to.
#
#   SLUICE_ADMIN=https://sluice:9900 SLUICE_TOKEN=... deploy.sh ROUTE VERSION [TIMEOUT]
#
# Exits 0 when the version has all the traffic, 1 when a check does not hold or it was rolled back, 3 when it waits for a person, 124 when the time
# is over (the rollout goes on), 2, 4 and 5 when it could not be started. SLUICE names the program where it is not on the path.
set -eu

route=$1
version=$2
timeout=${3:-1h}
sluice=${SLUICE:-sluice}

# The words of SLUICE are a program and its arguments.
$sluice preflight "$route" --version "$version"

code=0
$sluice deploy "$route" --version "$version" --reason "${REASON:-by the pipeline}" --yes --follow --timeout "$timeout" || code=$?

if [ "$code" -eq 1 ]; then
  echo "rolled back; the report:"
  $sluice report "$route" --markdown || true
fi
exit "$code"
