# Morphgres as a sidecar or a server of its own.
#
#   docker build -t morphgres .
#   docker run --init --shm-size=256m -p 6432:6432 \
#     -v morphgres:/var/lib/morphgres -v ./morphgres.toml:/etc/morphgres/morphgres.toml:ro morphgres
#
# Without rules in the file only connections from within the container are let in: give [[auth.rule]]
# and [[auth.user]] for clients outside (docs/configuration.md).

FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/morphgres
COPY requirements.lock ./
RUN /opt/morphgres/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
    --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY proxy proxy
COPY evolution evolution
COPY engine engine
COPY rewrite rewrite
COPY backends backends
COPY catalog catalog
COPY private_pg private_pg
COPY config config
COPY core core
COPY sample sample
RUN /opt/morphgres/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
    --no-deps --no-build-isolation .

FROM python:3.12-slim
RUN groupadd --gid 10001 morphgres \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/morphgres \
       --shell /usr/sbin/nologin morphgres \
    && install -d -o morphgres -g morphgres -m 0700 /var/lib/morphgres \
    && install -d /etc/morphgres
COPY --from=build /opt/morphgres /opt/morphgres
COPY config/example.toml /etc/morphgres/morphgres.toml
ENV PATH=/opt/morphgres/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MORPHGRES_SERVER_HOST=0.0.0.0 \
    MORPHGRES_DATA_DIRECTORY=/var/lib/morphgres/data \
    MORPHGRES_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/morphgres
VOLUME /var/lib/morphgres
EXPOSE 6432
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, socket; socket.create_connection(('127.0.0.1', int(os.environ.get('MORPHGRES_SERVER_PORT', '6432'))), 2).close()"]
ENTRYPOINT ["morphgres"]
CMD ["serve", "--config", "/etc/morphgres/morphgres.toml"]
