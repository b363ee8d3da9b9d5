//go:build integration

package docs

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSymptoms provokes the symptoms that operations.md lists, one after the other on one machine, has the commands of their rows
// executed, and makes sure that what is looked at tells the cause, and that the symptom is gone then.
func TestSymptoms(t *testing.T) {
	symptoms, err := Symptoms(filepath.Join(Repository, "docs/operations.md"))
	if err != nil || len(symptoms) < 10 {
		t.Fatalf("%d symptoms, %v", len(symptoms), err)
	}
	w := newWorld(t)
	numbers := make([]int, len(symptoms))
	for i, s := range symptoms {
		file := read(t, filepath.Join("testdata/symptoms", s.Name+".sh"))
		numbers[i] = w.add(t, strings.NewReplacer(
			"FILE", file, "LOOK", strings.Join(s.Look, "\n"), "REMEDY", strings.Join(s.Remedy, "\n"),
		).Replace(symptomScript))
	}
	if failed := w.run(t, shared.layer, 3*time.Minute); failed != 0 {
		t.Errorf("the machine stands still at %d: %s", failed, w.output(failed))
	}
	for i, s := range symptoms {
		if output := w.output(numbers[i]); !strings.HasSuffix(output, "MENDED\n") {
			t.Errorf("%s: %s", s.Name, output)
		}
	}
}

// symptomScript goes from the cause to the end of a symptom, in a shell of its own, and says MENDED at last.
const symptomScript = `set +e
(
set -eE -o pipefail
after() { :; }
FILE
echo '== provoke'
provoke
seen
echo '== look'
journalctl --sync || :
(
set +e
LOOK
:
) 2>&1 | tee $session/look
found <$session/look
echo '== mend'
REMEDY
for ((i = 0; i < 100; i++)); do seen || break; sleep 0.1; done
if seen; then echo 'it is still so'; exit 1; fi
after
echo MENDED
)
set -e
`
