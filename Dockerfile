# Image of the server: only the server extra (no torch, pandas or compiler), not run as root.
#   docker build -t cofactor-server .
#   docker run -p 50051:50051 -v "$PWD/models:/models:ro" cofactor-server --insecure-plaintext
# For TLS, replace --insecure-plaintext by --tls-certificate and --tls-key. One of the two is required, because the
# container listens on all interfaces.
# On a machine with CUDA, build with --build-arg REQUIREMENTS=requirements/server-cuda.txt and run with --gpus all.
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
# hatchling has an environment of its own, so that it is not installed in the image.
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
# Neither TLS nor plaintext is the default: the command of `docker run` must choose one.
ENTRYPOINT ["cofactor-serve", "--models", "/models", "--host", "0.0.0.0"]
STOPSIGNAL SIGTERM
