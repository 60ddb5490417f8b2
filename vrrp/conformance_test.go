package vrrp_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// conformanceCase is a case of testdata/conformance.json: what a router must do that is to live with keepalived and FRR.
// DUT is the router under test, of priority 100, version 3, IPv4, multicast, an interval of one second and two addresses,
// if nothing else is said. The level is U for bytes in and out, S for a state machine with exact time, N for network
// namespaces. A case has tests of this package, which bear its number in their names, or it is tested elsewhere, or
// there is a reason why lvsd has nothing of the kind. Differs says where we do otherwise on purpose; the tests ask for that.
type conformanceCase struct {
	ID, Level, Setup, Stimulus, Expected string
	Tests                                []string
	Differs                              string
	Elsewhere                            string
	NotApplicable                        string
}

func TestEveryConformanceCaseHasATest(t *testing.T) {
	groups := []struct {
		name  string
		count int
	}{{"ENC", 17}, {"RX", 44}, {"FSM", 33}, {"TMR", 17}, {"GARP", 15}, {"FLT", 12}, {"TRK", 6}, {"SYN", 4}, {"IOP", 10}}
	var ids []string
	for _, g := range groups {
		for n := range g.count {
			ids = append(ids, fmt.Sprintf("%s-%02d", g.name, n+1))
		}
	}
	tests := sources(t)
	for i, c := range readVectors[conformanceCase](t, "conformance.json", 158) {
		if c.ID != ids[i] {
			t.Errorf("case %d is %s, want %s", i, c.ID, ids[i])
		}
		if !strings.Contains("UNS", c.Level) || c.Level == "" {
			t.Errorf("%s has the level %q", c.ID, c.Level)
		}
		answers := 0
		if len(c.Tests) > 0 {
			answers++
		}
		switch c.Elsewhere {
		case "":
		case "vip", "elector", "scenario", "netns":
			answers++
		default:
			t.Errorf("%s is tested in %q", c.ID, c.Elsewhere)
		}
		if c.NotApplicable != "" {
			answers++
		}
		if answers != 1 {
			t.Errorf("%s has %d answers, want one: tests, elsewhere, or a reason", c.ID, answers)
		}
		if c.Differs != "" && len(c.Tests) == 0 {
			t.Errorf("%s differs, and no test says so", c.ID)
		}
		for _, name := range c.Tests {
			if numbers, ok := tests[name]; !ok {
				t.Errorf("%s: there is no %s", c.ID, name)
			} else if !numbers[c.ID] {
				t.Errorf("%s: %s does not bear the number", c.ID, name)
			}
		}
	}
}

// sources returns the tests of this package and the numbers that their names bear: those in the strings of the test, or
// of a table outside of it that it uses, by way of others if need be.
func sources(t *testing.T) map[string]map[string]bool {
	t.Helper()
	names, err := filepath.Glob("*_test.go")
	if err != nil || len(names) == 0 {
		t.Fatalf("tests: %v, %v", names, err)
	}
	uses := make(map[string][]ast.Node) // what a name at package level stands for
	fset := token.NewFileSet()
	for _, name := range names {
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					uses[d.Name.Name] = append(uses[d.Name.Name], d)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if v, ok := s.(*ast.ValueSpec); ok {
						for _, n := range v.Names {
							uses[n.Name] = append(uses[n.Name], v)
						}
					}
				}
			}
		}
	}
	var collect func(name string, seen, numbers map[string]bool)
	collect = func(name string, seen, numbers map[string]bool) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, node := range uses[name] {
			ast.Inspect(node, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					for _, word := range strings.FieldsFunc(n.Value, func(r rune) bool { return strings.ContainsRune("\"` ,()", r) }) {
						numbers[word] = true
					}
				case *ast.Ident:
					collect(n.Name, seen, numbers)
				}
				return true
			})
		}
	}
	tests := make(map[string]map[string]bool)
	for name := range uses {
		if strings.HasPrefix(name, "Test") {
			tests[name] = make(map[string]bool)
			collect(name, make(map[string]bool), tests[name])
		}
	}
	return tests
}
