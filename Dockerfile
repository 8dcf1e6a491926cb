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
# the library, which has another name in each release of Debian
RUN dpkg-query -W -f '${Package}\n' 'libroaring[0-9]*' > /library

FROM postgres:${POSTGRES}
COPY --from=build /library /tmp/library
RUN apt-get update && apt-get install -y --no-install-recommends $(cat /tmp/library) && rm -rf /var/lib/apt/lists/* /tmp/library
COPY --from=build /installed /
