package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

// Alarm is an alert that fires, first at a minute.
type Alarm struct {
	Alert       string            `json:"alert"`
	Minute      int               `json:"minute"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// firing evaluates alerts once a minute on series in the notation of promtool's
// unit tests.
func firing(text []byte) ([]Alarm, error) {
	var question struct {
		Rules   string `json:"rules"`
		Series  string `json:"series"`
		Minutes int    `json:"minutes"`
	}
	if err := json.Unmarshal(text, &question); err != nil {
		return nil, err
	}
	groups, err := parse([]byte(question.Rules))
	if err != nil {
		return nil, err
	}
	series, err := promqltest.NewLazyLoader(question.Series, promqltest.LazyLoaderOpts{
		EnableAtModifier:     true,
		EnableNegativeOffset: true,
	})
	if err != nil {
		return nil, err
	}
	defer series.Close()
	series.WithSamplesTill(minute(question.Minutes), func(failure error) { err = failure })
	if err != nil {
		return nil, err
	}
	alarms := []Alarm{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			found, err := alarmsOf(rule, series, question.Minutes)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rule.Alert, err)
			}
			alarms = append(alarms, found...)
		}
	}
	return alarms, nil
}

func alarmsOf(rule rulefmt.Rule, series *promqltest.LazyLoader, minutes int) ([]Alarm, error) {
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
	if err != nil {
		return nil, err
	}
	alerting := rules.NewAlertingRule(
		rule.Alert, expression, time.Duration(rule.For), time.Duration(rule.KeepFiringFor),
		labels.FromMap(rule.Labels), labels.FromMap(rule.Annotations), labels.EmptyLabels(), "",
		true, slog.New(slog.DiscardHandler),
	)
	query := rules.EngineQueryFunc(series.QueryEngine(), series.Queryable())
	var alarms []Alarm
	for now := 0; now <= minutes; now++ {
		if _, err := alerting.Eval(series.Context(), 0, minute(now), query, &url.URL{}, 0); err != nil {
			return nil, err
		}
		for _, active := range alerting.ActiveAlerts() {
			if active.State != rules.StateFiring || active.FiredAt != minute(now) {
				continue
			}
			alarms = append(alarms, Alarm{
				Alert:       rule.Alert,
				Minute:      now,
				Labels:      active.Labels.Map(),
				Annotations: active.Annotations.Map(),
			})
		}
	}
	slices.SortFunc(alarms, func(one, other Alarm) int {
		return strings.Compare(fmt.Sprint(one.Minute, one.Labels), fmt.Sprint(other.Minute, other.Labels))
	})
	return alarms, nil
}

func minute(number int) time.Time {
	return time.Unix(0, 0).UTC().Add(time.Duration(number) * time.Minute)
}
