# One image for the code location, the webserver, the daemon and the page; docker-compose.yml has the commands.
# It is large because of torch: on x86-64 the usual wheels include CUDA, with which the Python packages take 6.5 GB.
# docs/operate/compose.md describes how to build with wheels for the CPU only.
FROM python:3.13.15-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

# The wheel of the project, and the list of its dependencies.
FROM base AS wheel
WORKDIR /build
COPY docker/requirements.py pyproject.toml ./
RUN python requirements.py > requirements.txt
COPY README.md LICENSE ./
COPY imgret_assets imgret_assets
RUN pip wheel --no-deps --wheel-dir dist .

FROM base
# This layer changes only with pyproject.toml and constraints.txt; a change of the code rebuilds the small ones below.
ARG PIP_EXTRA_INDEX_URL=""
COPY constraints.txt /opt/imgret/
COPY --from=wheel /build/requirements.txt /opt/imgret/
RUN pip install --requirement /opt/imgret/requirements.txt --constraint /opt/imgret/constraints.txt

COPY --from=wheel /build/dist /opt/imgret/dist
RUN pip install --no-deps /opt/imgret/dist/*.whl

# Below the packages, so that other ids make only these small layers again.
ARG UID=1000
ARG GID=1000
# --non-unique: the ids of the user on the host may exist here (group 20 of a Mac is dialout).
RUN groupadd --non-unique --gid "${GID}" imgret \
    && useradd --non-unique --uid "${UID}" --gid "${GID}" --create-home imgret \
    && install --directory --owner=imgret --group=imgret /var/lib/imgret /var/lib/dagster /opt/dagster/home

COPY docker/workspace.yaml docker/code_server.py /opt/dagster/
COPY docker/dagster.yaml /opt/dagster/home/

ENV HOME=/home/imgret \
    DAGSTER_HOME=/opt/dagster/home \
    IMGRET_HOME=/var/lib/imgret \
    IMGRET_CACHE=/var/lib/imgret/cache \
    IMGRET_IMAGES=/images
WORKDIR /opt/dagster
USER ${UID}:${GID}
CMD ["imgret", "--help"]
