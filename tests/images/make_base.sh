#!/usr/bin/env bash
# Make a base image for the Dockerfile without a container registry: Debian by debootstrap, with python3 and its venv.
#   tests/images/make_base.sh localhost/cofactor-base
# Needs root, buildah and debootstrap. Certificates and pip's settings of this machine go in, so that builds behind a
# proxy or with a mirror work; do not publish images that are made of it.
set -euo pipefail
tag=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder/root" >"$folder/log" 2>&1 \
  || { tail -n 20 "$folder/log" >&2; exit 1; }
rm -rf "$folder"/root/var/cache/apt/* "$folder"/root/var/lib/apt/lists/*
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$folder/root/etc/ssl/certs/ca-certificates.crt"
if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$folder/root/etc/"; fi
tar -C "$folder/root" -cf "$folder/root.tar" .
container=$(buildah from scratch)
buildah add --quiet "$container" "$folder/root.tar" / >/dev/null
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah commit --quiet "$container" "$tag" >/dev/null
buildah rm "$container" >/dev/null
