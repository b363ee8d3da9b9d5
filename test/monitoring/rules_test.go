// Package monitoring tests the alert rules and the dashboard of the Helm chart: with the tag
// integration in a Prometheus that scrapes the programs.
package monitoring

import (
	"os"
	"strings"
	"testing"
)

const (
	rulesFile     = "../../deploy/helm/palisade/files/rules.yaml"
	dashboardFile = "../../deploy/helm/palisade/files/dashboard.json"
)

// alerts returns the expressions of the rules by alert. Each is in one line of the file.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	expressions := make(map[string]string)
	name := ""
	for line := range strings.Lines(string(text)) {
		if _, alert, ok := strings.Cut(line, "- alert: "); ok {
			name = strings.TrimSpace(alert)
		}
		if _, expression, ok := strings.Cut(line, " expr: "); ok {
			expressions[name] = strings.TrimSpace(expression)
		}
	}
	return expressions
}

// TestDocument compares the rules with the table in docs/metrics.md.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Alerts\n")
	rows := 0
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| `Palisade") {
			rows++
		}
	}
	expressions := alerts(t)
	if rows != len(expressions) {
		t.Errorf("docs/metrics.md has %d alerts, %s has %d", rows, rulesFile, len(expressions))
	}
	for name, expression := range expressions {
		_, row, ok := strings.Cut(table, "\n| `"+name+"` | ")
		row, _, _ = strings.Cut(row, "\n")
		if !ok || !strings.HasSuffix(row, " | `"+expression+"` |") {
			t.Errorf("docs/metrics.md: the row of %s ends with %q, want %q", name, row, expression)
		}
	}
}
