#!/bin/bash
# Writes the broker's settings with its secrets into memory (/dev/shm), formats its folder once, and runs it.
set -euo pipefail
umask 077
memory=/dev/shm/my-feast  # whoever the container runs as may write there, at every start
mkdir -p "$memory"
plain='org.apache.kafka.common.security.plain.PlainLoginModule required'

base64 -d <<< "$EVENTS_KEYSTORE" > "$memory/kafka.pem"
{
  cat /opt/my-feast/server.properties
  printf 'listener.name.events.plain.sasl.jaas.config=%s username="admin" password="%s" user_admin="%s" user_%s="%s";\n' \
    "$plain" "$EVENTS_ADMIN_PASSWORD" "$EVENTS_ADMIN_PASSWORD" "\$ConnectionString" "$EVENTS_PASSWORD"
} > "$memory/server.properties"
# For the healthcheck, and for the tools in /opt/kafka/bin: --command-config /dev/shm/my-feast/client.properties
{
  printf 'security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n'
  printf 'ssl.truststore.type=PEM\nssl.truststore.location=/run/my-feast-ca.pem\n'
  printf 'sasl.jaas.config=%s username="admin" password="%s";\n' "$plain" "$EVENTS_ADMIN_PASSWORD"
} > "$memory/client.properties"
unset EVENTS_KEYSTORE EVENTS_PASSWORD EVENTS_ADMIN_PASSWORD

if [ ! -f /var/lib/kafka/data/log/meta.properties ]; then
  /opt/kafka/bin/kafka-storage.sh format --standalone --cluster-id "$(/opt/kafka/bin/kafka-storage.sh random-uuid)" \
    --config "$memory/server.properties"
fi
exec /opt/kafka/bin/kafka-server-start.sh "$memory/server.properties"
