// Command prometheus-judge says what Prometheus makes of alerts and of a
// dashboard's expressions: whether its own parser takes them (as `promtool
// check rules` asks it), which metrics and labels they name, and when alerts
// fire on given series (as `promtool test rules` finds it). promtool itself
// brings the clients of every cloud with it and takes minutes to build. It
// decides nothing itself; the tests that call it do.
//
//	prometheus-judge rules         a rule file on standard input
//	prometheus-judge expressions   a JSON array of expressions on standard input
//	prometheus-judge firing        {"rules": ..., "series": ..., "minutes": ...} on standard input
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// Rule is an alert that Prometheus took.
type Rule struct {
	Alert string `json:"alert"`
	Uses  []Use  `json:"uses"`
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "prometheus-judge:", err)
		os.Exit(1)
	}
}

func run(arguments []string, input io.Reader, output io.Writer) error {
	if len(arguments) != 1 {
		return errors.New("call me with rules, expressions or firing")
	}
	text, err := io.ReadAll(input)
	if err != nil {
		return err
	}
	var answer any
	switch arguments[0] {
	case "rules":
		answer, err = checkRules(text)
	case "expressions":
		answer, err = checkExpressions(text)
	case "firing":
		answer, err = firing(text)
	default:
		err = fmt.Errorf("%s is none of rules, expressions and firing", arguments[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(output).Encode(answer)
}

func parse(text []byte) (*rulefmt.RuleGroups, error) {
	logger := slog.New(slog.DiscardHandler)
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), logger)
	return groups, errors.Join(errs...)
}

func checkRules(text []byte) ([]Rule, error) {
	groups, err := parse(text)
	if err != nil {
		return nil, err
	}
	var rules []Rule
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			uses, err := usesOf(rule.Expr)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rule.Alert, err)
			}
			rules = append(rules, Rule{Alert: rule.Alert, Uses: uses})
		}
	}
	return rules, nil
}

func checkExpressions(text []byte) ([][]Use, error) {
	var expressions []string
	if err := json.Unmarshal(text, &expressions); err != nil {
		return nil, err
	}
	all := make([][]Use, len(expressions))
	for i, expression := range expressions {
		uses, err := usesOf(expression)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", expression, err)
		}
		all[i] = uses
	}
	return all, nil
}
