#!/bin/sh
# Generate stubs for the languages without an example client: generate-stubs.sh FOLDER
# protoc itself generates the messages. The services need gRPC plugins on the PATH; those that are missing are skipped.
set -eu
out=$1
cd "$(dirname "$0")/.."
protos=$(cd proto && echo cofactor/v1/recommender.proto cofactor/v1/catalog.proto cofactor/v1/model.proto)

generate() { # generate LANGUAGE FLAG... : run protoc once, into $out/LANGUAGE
  language=$1
  shift
  mkdir -p "$out/$language"
  # shellcheck disable=SC2086 # the file names contain no spaces
  protoc -Iproto "$@" $protos
}

services() { # services LANGUAGE PLUGIN : generate the services too, if the plugin is installed
  plugin=$(command -v "$2") || { echo "skipped: the services of $1: $2 is not on the PATH"; return; }
  generate "$1" --plugin=protoc-gen-grpc="$plugin" --grpc_out="$out/$1"
}

for language in csharp php ruby; do
  rm -rf "${out:?}/$language"
  generate "$language" --"${language}_out=$out/$language"
  services "$language" "grpc_${language}_plugin"
done
rm -rf "$out/kotlin"
# Kotlin's messages extend Java's, so generate both.
generate kotlin --java_out="$out/kotlin" --kotlin_out="$out/kotlin"
services kotlin protoc-gen-grpc-kotlin
for language in csharp php ruby kotlin; do
  echo "wrote $(find "$out/$language" -type f | wc -l) files to $out/$language"
done
