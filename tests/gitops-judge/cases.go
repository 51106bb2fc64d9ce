package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// Case is a case of a health_test.yaml, and what came of it.
type Case struct {
	// Of the script and of the object, relative to the folder.
	Script   string    `json:"script"`
	Object   string    `json:"object"`
	Expected Judgement `json:"expected"`
	// In the order of the library settings: as argocd-cm has it, as a built-in script has it.
	Found []Judgement `json:"found"`
}

type healthTests struct {
	Tests []struct {
		InputPath    string    `json:"inputPath"`
		HealthStatus Judgement `json:"healthStatus"`
	} `json:"tests"`
}

// judgeCases walks the folder as the tests of Argo CD walk their own.
func judgeCases(folder string) ([]Case, error) {
	cases := []Case{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() != "health.lua" {
			return err
		}
		script, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var tests healthTests
		if err := readYAML(filepath.Join(filepath.Dir(path), "health_test.yaml"), &tests); err != nil {
			return err
		}
		for _, test := range tests.Tests {
			input := filepath.Join(filepath.Dir(path), test.InputPath)
			judged := Case{Expected: test.HealthStatus}
			for name, target := range map[string]*string{path: &judged.Script, input: &judged.Object} {
				if *target, err = filepath.Rel(folder, name); err != nil {
					return err
				}
			}
			var object map[string]any
			if err := readYAML(input, &object); err != nil {
				return err
			}
			for _, openLibraries := range []bool{false, true} {
				found, err := runScript(string(script), object, openLibraries)
				if err != nil {
					return fmt.Errorf("%s: %w", judged.Object, err)
				}
				judged.Found = append(judged.Found, found)
			}
			cases = append(cases, judged)
		}
		return nil
	})
	return cases, err
}

func readYAML(path string, target any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, target); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
