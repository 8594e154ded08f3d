#!/bin/bash
# Redis as a managed one is: TLS alone, a user with a password who administers nothing, the default user switched off.
# Secrets come in variables and stay in memory: files in /dev/shm, settings on standard input.
set -euo pipefail
umask 077
memory=/dev/shm/my-feast  # whoever the container runs as may write there, at every start
mkdir -p "$memory"
base64 -d <<< "$REDIS_CERTIFICATE" > "$memory/redis.pem"
base64 -d <<< "$REDIS_KEY" > "$memory/redis.key"

settings="
port 0
tls-port 6379
tls-cert-file $memory/redis.pem
tls-key-file $memory/redis.key
tls-ca-cert-file /run/my-feast-ca.pem
tls-auth-clients no
user default off
user feature_store on >$REDIS_PASSWORD ~* &* +@all -@admin +config|get +acl|whoami
dir /data
save 300 1
appendonly no
maxmemory 128mb
maxmemory-policy noeviction
"
unset REDIS_PASSWORD REDIS_CERTIFICATE REDIS_KEY
exec redis-server - <<< "$settings"
