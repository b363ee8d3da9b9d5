package docs

import (
	"fmt"
	"regexp"
	"strings"
)

// Symptom is a row of the table of what may be wrong.
type Symptom struct {
	// Name stands in a comment before it.
	Name string
	// Look are commands that tell the cause, Remedy those that mend it.
	Look, Remedy []string
}

var (
	symptomRow = regexp.MustCompile(`^\| <!-- ([a-z-]+) --> .+? \| .+? \| (.+) \| (.+) \|$`)
	span       = regexp.MustCompile("`([^`]+)`")
)

// Symptoms are the rows of the table in a page. Commands are what is written as code.
func Symptoms(path string) (symptoms []Symptom, err error) {
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, "| <!-- ") {
			continue
		}
		found := symptomRow.FindStringSubmatch(line)
		if found == nil {
			return nil, fmt.Errorf("%s:%d: a row of symptoms has a name in a comment, and four cells", path, i+1)
		}
		s := Symptom{Name: found[1], Look: spans(found[2]), Remedy: spans(found[3])}
		if len(s.Look) == 0 || len(s.Remedy) == 0 {
			return nil, fmt.Errorf("%s:%d: %s has no command to look, or to mend it", path, i+1, s.Name)
		}
		symptoms = append(symptoms, s)
	}
	return symptoms, nil
}

func spans(cell string) (commands []string) {
	for _, found := range span.FindAllStringSubmatch(cell, -1) {
		commands = append(commands, found[1])
	}
	return commands
}
