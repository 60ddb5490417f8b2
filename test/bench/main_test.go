package bench

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"lvsd/test/lab"
)

// eventsPerBenchmark is how often each event is repeated where the command line
// does not say. The default of package testing, one second, is less than one event.
const eventsPerBenchmark = "5x"

// inMemory is a folder in memory. What lvsd remembers is in memory on a machine
// that it runs on, below /run; a disk would make each takeover slower.
const inMemory = "/dev/shm"

func TestMain(m *testing.M) {
	if s, err := os.Stat(inMemory); err == nil && s.IsDir() {
		os.Setenv("TMPDIR", inMemory)
	}
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.benchtime" })
	if !given {
		if err := flag.Set("test.benchtime", eventsPerBenchmark); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
	lab.Main(m, lab.WithoutIPVS)
}
