// Command gitops-judge says what Argo CD and Flux make of objects: the health
// by a script, run as Argo CD runs it, and the status by kstatus, which Flux,
// Helm and others wait by. It decides nothing itself; the tests that call it do.
//
//	gitops-judge cases FOLDER     the test cases of resource_customizations
//	gitops-judge objects FOLDER   the objects on standard input, a JSON array
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Judgement is what one of the two says of an object.
type Judgement struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// Verdict is what both say of an object.
type Verdict struct {
	ArgoCD  Judgement `json:"argocd"`
	Kstatus Judgement `json:"kstatus"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gitops-judge:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("call me with cases or objects, and the folder resource_customizations")
	}
	var answer any
	var err error
	switch folder := arguments[1]; arguments[0] {
	case "cases":
		answer, err = judgeCases(folder)
	case "objects":
		answer, err = judgeObjects(folder, os.Stdin)
	default:
		err = fmt.Errorf("%s is neither cases nor objects", arguments[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

func judgeObjects(folder string, input io.Reader) ([]Verdict, error) {
	var texts []json.RawMessage
	if err := json.NewDecoder(input).Decode(&texts); err != nil {
		return nil, err
	}
	verdicts := make([]Verdict, 0, len(texts))
	for _, text := range texts {
		object := &unstructured.Unstructured{}
		// Numbers become int64, as they are where Argo CD and Flux run.
		if err := object.UnmarshalJSON(text); err != nil {
			return nil, err
		}
		script, err := os.ReadFile(filepath.Join(folder, object.GroupVersionKind().Group, object.GetKind(), "health.lua"))
		if err != nil {
			return nil, err
		}
		health, err := runScript(string(script), object.Object, false)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", object.GetName(), err)
		}
		result, err := status.Compute(object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", object.GetName(), err)
		}
		verdicts = append(verdicts, Verdict{
			ArgoCD:  health,
			Kstatus: Judgement{Status: result.Status.String(), Message: result.Message},
		})
	}
	return verdicts, nil
}
