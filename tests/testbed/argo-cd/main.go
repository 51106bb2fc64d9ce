// Command argo-cd is as much of Argo CD as it takes to sync an application:
// Argo CD's own application controller and repository server, and the Redis
// that they share, which is one in memory. It acts as the one that it is
// called by the name of, as Argo CD's own program does.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/alicebob/miniredis/v2"
	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	gitaskpass "github.com/argoproj/argo-cd/v3/cmd/argocd-git-ask-pass/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
)

func main() {
	var err error
	switch name := filepath.Base(os.Args[0]); name {
	case "argocd-application-controller":
		err = controller.NewCommand().Execute()
	case "argocd-repo-server":
		err = reposerver.NewCommand().Execute()
	case "argocd-git-ask-pass":
		err = gitaskpass.NewCommand().Execute()
	case "argocd-redis":
		err = serveRedis(os.Args[1:])
	default:
		err = fmt.Errorf("%s is no part of Argo CD that is here", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serveRedis serves until it is killed.
func serveRedis(arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("call me with the address to listen on")
	}
	if err := miniredis.NewMiniRedis().StartAddr(arguments[0]); err != nil {
		return err
	}
	fmt.Println("redis listens on", arguments[0])
	select {}
}
