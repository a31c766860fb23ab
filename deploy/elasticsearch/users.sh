#!/bin/sh
# Makes one Elasticsearch user for each role of roles.yml; run again, it sets their passwords.
#   URL=http://elasticsearch:9200 ELASTIC_PASSWORD=... SETUP_PASSWORD=... (CLASSIFY_, ALERT_, CONSOLE_) users.sh
set -eu
for role in setup classify alert console; do
  variable=$(printf '%s_PASSWORD' "$role" | tr '[:lower:]' '[:upper:]')
  eval "password=\${$variable:?set $variable}"
  case $password in
    *[!A-Za-z0-9._-]*) echo "$variable: use letters, digits and . _ - only" >&2; exit 78 ;;
  esac
  # By standard input: what stands in a command line can be read by every process of the machine.
  printf 'user = "elastic:%s"\nheader = "Content-Type: application/json"\ndata = "{\\"password\\": \\"%s\\", \\"roles\\": [\\"opinionwatch_%s\\"]}"\n' \
    "${ELASTIC_PASSWORD:?set ELASTIC_PASSWORD}" "$password" "$role" |
    curl --fail --silent --show-error --config - --request PUT "${URL:?}/_security/user/opinionwatch-$role" >/dev/null
  echo "user opinionwatch-$role"
done
