# PostgreSQL with the extension installed:
#
#	docker build -t loyalty --build-arg POSTGRES=17 .
#	docker run -e POSTGRES_PASSWORD=... loyalty
#
# Then, in a database: CREATE EXTENSION loyalty CASCADE; SELECT loyalty.setup();
ARG POSTGRES=17
FROM postgres:${POSTGRES} AS build
RUN apt-get update && apt-get install -y --no-install-recommends make gcc libc6-dev libssl-dev libroaring-dev postgresql-server-dev-${PG_MAJOR}
COPY . /loyalty
RUN make -C /loyalty && make -C /loyalty install DESTDIR=/installed

FROM postgres:${POSTGRES}
RUN apt-get update && apt-get install -y --no-install-recommends libroaring0 && rm -rf /var/lib/apt/lists/*
COPY --from=build /installed /
