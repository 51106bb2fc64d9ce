package main

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Use is a metric that an expression reads, with the labels that the
// expression chooses or groups it by, and what it chooses by.
type Use struct {
	Metric string            `json:"metric"`
	Labels []string          `json:"labels"`
	Values map[string]string `json:"values"`
}

func usesOf(expression string) ([]Use, error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		return nil, err
	}
	var uses []Use
	parser.Inspect(parsed, func(node parser.Node, path []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			uses = append(uses, useOf(selector, path))
		}
		return nil
	})
	return uses, nil
}

func useOf(selector *parser.VectorSelector, path []parser.Node) Use {
	use := Use{Metric: selector.Name, Labels: []string{}, Values: map[string]string{}}
	for _, matcher := range selector.LabelMatchers {
		if matcher.Name != labels.MetricName {
			use.Labels = append(use.Labels, matcher.Name)
			use.Values[matcher.Name] = matcher.Value
		}
	}
	for _, node := range path {
		if aggregation, ok := node.(*parser.AggregateExpr); ok {
			use.Labels = append(use.Labels, aggregation.Grouping...)
		}
	}
	slices.Sort(use.Labels)
	use.Labels = slices.Compact(use.Labels)
	return use
}
