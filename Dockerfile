# The server's image: the server extra alone, no torch, no pandas, no compiler, not root.
#   docker build -t cofactor-server .
#   docker run -p 50051:50051 -v "$PWD/models:/models:ro" cofactor-server --insecure-plaintext
# (or --tls-certificate and --tls-key in its place: the container listens beyond loopback).
# On a CUDA machine: --build-arg REQUIREMENTS=requirements/server-cuda.txt, and run with --gpus all.
ARG BASE=docker.io/library/python:3.12-slim

FROM ${BASE} AS build
ARG REQUIREMENTS=requirements/server.txt
WORKDIR /build
RUN python3 -m venv /opt/cofactor
COPY requirements/ requirements/
RUN /opt/cofactor/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r ${REQUIREMENTS}
COPY requirements/build.txt pyproject.toml README.md LICENSE ./
COPY proto/ proto/
COPY trainer/ trainer/
COPY server/ server/
COPY client/cofactor_client/ client/cofactor_client/
# hatchling builds the wheel from its own environment, so that it does not stay in the image's.
RUN python3 -m venv /opt/hatchling \
 && /opt/hatchling/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r build.txt \
 && /opt/hatchling/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/cofactor/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps dist/*.whl \
 && /opt/cofactor/bin/pip uninstall --yes --quiet pip

FROM ${BASE}
COPY --from=build /opt/cofactor /opt/cofactor
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin cofactor
USER 10001
ENV PATH=/opt/cofactor/bin:$PATH PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
EXPOSE 50051
# TLS belongs in front of, or in, this server: plaintext beyond loopback has to be asked for.
ENTRYPOINT ["cofactor-serve", "--models", "/models", "--host", "0.0.0.0"]
STOPSIGNAL SIGTERM
