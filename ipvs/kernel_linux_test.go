package ipvs_test

import (
	"errors"
	"strings"
	"testing"

	"lvsd/ipvs"
)

// On a kernel without IPVS this tests the refusal; the tests in test/ipvskernel
// have a kernel with it.
func TestOpenSaysThatIPVSIsMissing(t *testing.T) {
	k, err := ipvs.Open()
	if err == nil {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	if !errors.Is(err, ipvs.ErrNoIPVS) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "module ip_vs ") {
		t.Errorf("Open: %v", err)
	}
	t.Log(err)
}
