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

func TestMain(m *testing.M) {
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
