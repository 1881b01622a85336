# One image for the code location, the webserver, the daemon and the page (docker-compose.yml says which runs what).
# It is large because of torch: on x86-64 the usual wheels bring CUDA, which makes the Python packages about 6.5 GB.
# Where no GPU is used, docs/compose.md says how to build with the CPU's wheels instead.
FROM python:3.13.15-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

# The project's own wheel, and the names of what it needs.
FROM base AS wheel
WORKDIR /build
COPY docker/requirements.py pyproject.toml ./
RUN python requirements.py > requirements.txt
COPY README.md LICENSE ./
COPY imgret_assets imgret_assets
RUN pip wheel --no-deps --wheel-dir dist .

FROM base
ARG UID=1000
ARG GID=1000
# --non-unique: the user's ids on the host may be taken here (a Mac's group 20 is dialout).
RUN groupadd --non-unique --gid "${GID}" imgret \
    && useradd --non-unique --uid "${UID}" --gid "${GID}" --create-home imgret \
    && install --directory --owner=imgret --group=imgret /var/lib/imgret /var/lib/dagster /opt/dagster/home

# This layer changes only with pyproject.toml and constraints.txt; a change of the code costs the small one below.
ARG PIP_EXTRA_INDEX_URL=""
COPY constraints.txt /opt/imgret/
COPY --from=wheel /build/requirements.txt /opt/imgret/
RUN pip install --requirement /opt/imgret/requirements.txt --constraint /opt/imgret/constraints.txt

COPY --from=wheel /build/dist /opt/imgret/dist
RUN pip install --no-deps /opt/imgret/dist/*.whl
COPY docker/workspace.yaml docker/code_server.py /opt/dagster/
COPY docker/dagster.yaml /opt/dagster/home/

ENV HOME=/home/imgret \
    DAGSTER_HOME=/opt/dagster/home \
    IMGRET_HOME=/var/lib/imgret \
    IMGRET_CACHE=/var/lib/imgret/cache \
    IMGRET_ENV_FILE=/var/lib/imgret/settings.env \
    IMGRET_IMAGES=/images
WORKDIR /opt/dagster
USER ${UID}:${GID}
CMD ["imgret", "--help"]
