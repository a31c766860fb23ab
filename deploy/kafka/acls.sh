#!/bin/sh
# What each role may do in Kafka. Needs an administrator's client configuration:
#   BOOTSTRAP=kafka:9093 CONFIG=admin.properties deploy/kafka/acls.sh
# Users: opinionwatch-classify, -alert, -tools (setup, ingest, dead, status). Topics as in opinionwatch.toml.
set -eu
ACLS="${KAFKA_ACLS:-kafka-acls.sh} --bootstrap-server ${BOOTSTRAP:?host:port} --command-config ${CONFIG:?a file} --add"
GROUP="${GROUP:-opinionwatch}"
TOPICS="${TOPICS:-opinion.news opinion.forum}"
DEAD="${DEAD:-opinion.dead}" PROGRESS="${PROGRESS:-opinion.progress}" ALERTS="${ALERTS:-opinion.alerts}"
SOURCES=$(for topic in $TOPICS; do printf ' --topic %s' "$topic"; done)
OTHERS="--topic $DEAD --topic $PROGRESS --topic $ALERTS"
CLASSIFY="--allow-principal User:opinionwatch-classify"
ALERT="--allow-principal User:opinionwatch-alert"
TOOLS="--allow-principal User:opinionwatch-tools"

# A worker's check at its start asks whether all topics are there: Describe on all of them.
$ACLS $CLASSIFY $ALERT --operation Describe $SOURCES $OTHERS
$ACLS $CLASSIFY --operation Read $SOURCES --group "$GROUP-classify"
$ACLS $CLASSIFY --operation Write --topic "$DEAD" --topic "$PROGRESS"
$ACLS $ALERT --operation Read --topic "$PROGRESS" --group "$GROUP-alert"
$ACLS $ALERT --operation Write --topic "$ALERTS"
$ACLS $ALERT $TOOLS --operation Describe --group "$GROUP-classify"
$ACLS $TOOLS --operation All $SOURCES $OTHERS
$ACLS $TOOLS --operation Create --operation Describe --cluster
