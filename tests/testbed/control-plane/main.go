// Command control-plane is the Kubernetes control plane that the tests and the
// demo run against: one program that acts as etcd, kube-apiserver,
// kube-controller-manager, kubectl or helm, by the name that it is called by.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	helm "helm.sh/helm/v4/pkg/cmd"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcd()
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(manager.NewControllerManagerCommand()))
	case "kubectl":
		// Its exit status and the form of its errors are kubectl's own.
		if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "helm":
		runHelm()
	default:
		fmt.Fprintf(os.Stderr, "%s: call me etcd, kube-apiserver, kube-controller-manager, kubectl or helm\n", name)
		os.Exit(2)
	}
}

// etcd serves one member on loopback, without fsync: its data lives as long as a test run.
func etcd() {
	flags := flag.NewFlagSet("etcd", flag.ExitOnError)
	data := flags.String("data-dir", "", "folder of the data")
	client := flags.String("listen-client-urls", "", "URL for clients, http://127.0.0.1:PORT")
	advertise := flags.String("advertise-client-urls", "", "the same URL as clients see it")
	peer := flags.String("listen-peer-urls", "", "URL for peers, unused by a single member but bound")
	unsafeNoFsync := flags.Bool("unsafe-no-fsync", false, "do not wait for the disk")
	_ = flags.Parse(os.Args[1:])

	config := embed.NewConfig()
	config.Dir = *data
	config.LogLevel = "warn"
	config.UnsafeNoFsync = *unsafeNoFsync
	config.ListenClientUrls = urls(*client)
	config.AdvertiseClientUrls = urls(*advertise)
	config.ListenPeerUrls = urls(*peer)
	config.AdvertisePeerUrls = config.ListenPeerUrls
	config.InitialCluster = config.InitialClusterFromName(config.Name)

	server, err := embed.StartEtcd(config)
	if err != nil {
		fail(err)
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(time.Minute):
		fail(fmt.Errorf("etcd was not ready within a minute"))
	}
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	select {
	case <-stop.Done():
	case err := <-server.Err():
		fail(err)
	}
}

func urls(text string) []url.URL {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" {
		fail(fmt.Errorf("%q is no URL of the form http://127.0.0.1:PORT", text))
	}
	return []url.URL{*parsed}
}

func runHelm() {
	root, err := helm.NewRootCmd(os.Stdout, os.Args[1:], helm.SetupLogging)
	if err != nil {
		fail(err)
	}
	if err := root.Execute(); err != nil {
		slog.Debug("helm failed", "error", err)
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
