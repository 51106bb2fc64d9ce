# One image with both programs, static, and nothing else but the roots of TLS. `image/build` makes the same without a
# daemon, with a folder in place of the first stage.

# Built on the machine's own architecture for the wanted one: nothing is emulated.
FROM --platform=$BUILDPLATFORM rust:1.95.0-bookworm AS build
ARG TARGETARCH
WORKDIR /project
# No versions: those of the base image's Debian release, of which the tag says which it is.
# hadolint ignore=DL3008
RUN if [ "$TARGETARCH" != "$(dpkg --print-architecture)" ]; then \
        case "$TARGETARCH" in \
        amd64) target=x86_64 gcc=x86-64 ;; \
        *) target=aarch64 gcc=aarch64 ;; \
        esac \
        && rustup target add "$target-unknown-linux-gnu" \
        && apt-get update \
        && apt-get install --yes --no-install-recommends \
            "gcc-$gcc-linux-gnu" "libc6-dev-$TARGETARCH-cross" \
        && rm -rf /var/lib/apt/lists/*; \
    fi
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
