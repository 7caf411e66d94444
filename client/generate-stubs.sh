#!/bin/sh
# Generates the stubs of the languages that have no example client: generate-stubs.sh FOLDER.
# Messages come from protoc alone; services from the gRPC plugins that are on the PATH.
set -eu
out=$1
cd "$(dirname "$0")/.."
protos=$(cd proto && echo cofactor/v1/recommender.proto cofactor/v1/catalog.proto cofactor/v1/model.proto)

generate() { # generate LANGUAGE FLAG... : one run of protoc into $out/LANGUAGE
  language=$1
  shift
  mkdir -p "$out/$language"
  # shellcheck disable=SC2086 # file names without spaces
  protoc -Iproto "$@" $protos
}

services() { # services LANGUAGE PLUGIN : the service stubs too, where the plugin is there
  plugin=$(command -v "$2") || { echo "skipped: the services of $1: $2 is not on the PATH"; return; }
  generate "$1" --plugin=protoc-gen-grpc="$plugin" --grpc_out="$out/$1"
}

for language in csharp php ruby; do
  rm -rf "${out:?}/$language"
  generate "$language" --"${language}_out=$out/$language"
  services "$language" "grpc_${language}_plugin"
done
rm -rf "$out/kotlin"
# Kotlin's messages are a layer over Java's.
generate kotlin --java_out="$out/kotlin" --kotlin_out="$out/kotlin"
services kotlin protoc-gen-grpc-kotlin
for language in csharp php ruby kotlin; do
  echo "wrote $(find "$out/$language" -type f | wc -l) files to $out/$language"
done
