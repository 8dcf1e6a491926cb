#!/usr/bin/env bash
# Data of the page: src/data/<query>.json is what queries/<query>.sql says.
exec "$(dirname "$0")/../../query.sh" "$@"
