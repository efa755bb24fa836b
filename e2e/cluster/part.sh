#!/usr/bin/env bash
# Stops one part of the local cluster, or starts it again as it was started: an outage, on purpose.
# Usage: part.sh stop|start NAME
source "$(dirname "$0")/lib.sh"
[ -e "$run/$2.command" ] || fail "no part of the cluster is called $2"
case $1 in
  stop) stop "$2" ;;
  start) eval "start $2 $(cat "$run/$2.command")" ;;
  *) fail "usage: part.sh stop|start NAME" ;;
esac
