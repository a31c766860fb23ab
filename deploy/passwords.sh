#!/bin/sh
# Passwords for compose.yaml, new ones each time: deploy/passwords.sh > deploy/.env
set -eu
umask 077
for name in ELASTIC SETUP CLASSIFY ALERT CONSOLE; do
  printf '%s_PASSWORD=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
done
