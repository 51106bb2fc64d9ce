# One image with both programs, static, and nothing else but the roots of TLS. `image/debian` makes the same without a
# daemon, with a folder in place of the first stage.

# Built on the machine's own architecture for the wanted one: nothing is emulated.
FROM --platform=$BUILDPLATFORM docker.io/library/debian:trixie-slim AS build
ARG TARGETARCH
WORKDIR /project
COPY image/toolchain image/
RUN image/toolchain "$TARGETARCH"
COPY . .
RUN image/rootfs /rootfs "$TARGETARCH"

FROM scratch AS image
COPY --from=build /rootfs /
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vpn-operator" \
      org.opencontainers.image.description="Kubernetes operator for customer gateways and VPN users of Huawei Cloud and Open Telekom Cloud" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# A number, so that the kubelet can see that it is not root.
USER 65532:65532
# /vpn-simulator is the other program.
ENTRYPOINT ["/vpn-operator"]
