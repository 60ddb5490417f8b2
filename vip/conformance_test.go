package vip_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// conformance says of each case about announcements, faults, and what becomes of
// both in the elector which tests cover it, or why it is none for lvsd.
var conformance = map[string]string{
	// The first round goes out just before the first advertisement, not just after
	// it: who believes the advertisement finds the address. After the second burst
	// come single rounds, a minute apart. Each round has the reply form, too.
	"GARP-01": "covered by vip.TestBurstsAtTakeoverAndFiveSecondsLater elector.TestTakeoverIsAddressesThenAnnouncementThenAdvertisement",
	"GARP-02": "covered by vip.TestFramesAreThoseOfOtherRouters",
	"GARP-03": "covered by vip.TestFramesAreThoseOfOtherRouters", // byte for byte; R is set on an interface that forwards, as keepalived does it
	"GARP-04": "not applicable: there are no virtual MAC addresses, an address is announced with that of its interface",
	"GARP-05": "covered by vip.TestScheduleFollowsItsOptions", // settings of the package, not of lvsd.toml; a refresh is one round
	"GARP-06": "covered by vip.TestSlowPaceLosesNoRound",
	"GARP-07": "not applicable: there is no setting for fewer announcements, those of a hundred addresses are paced instead",
	"GARP-08": "covered by vip.TestSecondBurstBelongsToItsMastership elector.TestBurstsOfALostMastershipAreNotSent elector.TestAYieldingMasterAnnouncesNoMore",
	"GARP-09": "covered by vip.TestWithdrawStopsAPacedQueue elector.TestAddressPutBackWhileYieldingIsNotAnnounced",
	"GARP-10": "covered by elector.TestRivalIsAnsweredWithAnnouncements",
	"GARP-11": "covered by vip.TestRoundsGoOverAllAddresses elector.TestRoundsGoOverAdvertisedThenExtraAddresses",
	"GARP-12": "covered by elector.TestOnlyAddressesInPlaceAreAnnounced elector.TestRefusedAddressIsNotAnnounced",
	"GARP-13": "covered by vip.TestInterfaceWithoutARPIsPassedOver vip.TestInterfaceWithoutARPIsSilentOnTheWire",
	"GARP-14": "not applicable: the director's own address does not move, so no peer has a stale entry for it, and the kernel answers for it",
	"GARP-15": "covered by vip.TestNeighbourMovesToTheNewDirector elector.TestCableIsPulled",

	"FLT-01": "covered by elector.TestCableIsPulled elector.TestFaultOfTheInterface",
	"FLT-02": "covered by elector.TestLinkLocalAddressIsNotUsedWhileTentative elector.TestFaultOfTheInterface",
	"FLT-03": "covered by elector.TestCableFlaps elector.TestFlappingCarrierEndsConsistent", // there is no debounce time to set
	"FLT-04": "covered by elector.TestTrackedFaultHandsOver",
	"FLT-05": "covered by elector.TestADeletedAddressIsPutBackAndAnnounced elector.TestTakenAddressComesBackInPlace vip.TestTakenAddressIsPutBackByEvent vip.TestTakenAddressIsPutBackOnARealKernel",
	"FLT-06": "not applicable: there is no setting to leave an address away that somebody has deleted",
	"FLT-07": "covered by elector.TestPrimaryAddressIsTaken elector.TestFaultOfTheInterface",
	"FLT-08": "covered by elector.TestStartAfterAKillLetsGoWhenAnotherHasTakenOver",
	"FLT-09": "covered by elector.TestInterfaceIsMadeAgain elector.TestFaultOfTheInterface vip.TestInterfaceDeletedAndMadeAgain vip.TestInterfaceComesAndGoes",
	"FLT-10": "covered by elector.TestSmallMTU elector.TestFaultOfTheInterface",
	"FLT-11": "covered by elector.TestLinkLocalAddressIsNotUsedWhileTentative vip.TestTentativeAddressIsNotListed",
	"FLT-12": "covered by elector.TestSecondMasterIsShown",

	// There is no setting for an advertisement at once, nor for a hand-over.
	"TRK-05": "covered by elector.TestLowerPriorityMovesTheMastership",
	"SYN-04": "covered by elector.TestDeletedAddressLeavesTheGroupAlone",
}

func TestEachConformanceCaseHasATestOrAReason(t *testing.T) {
	ids := []string{"TRK-05", "SYN-04"}
	for n := range 15 {
		ids = append(ids, fmt.Sprintf("GARP-%02d", n+1))
	}
	for n := range 12 {
		ids = append(ids, fmt.Sprintf("FLT-%02d", n+1))
	}
	if len(ids) != 29 || len(conformance) != len(ids) {
		t.Errorf("%d cases in the table, want %d", len(conformance), len(ids))
	}
	sources := map[string]string{"vip": sourceOf(t, "."), "elector": sourceOf(t, "../internal/elector")}
	for _, id := range ids {
		entry, ok := conformance[id]
		if !ok {
			t.Errorf("%s is not in the table", id)
			continue
		}
		if reason, ok := strings.CutPrefix(entry, "not applicable: "); ok && reason != "" {
			continue
		}
		tests, ok := strings.CutPrefix(entry, "covered by ")
		if !ok {
			t.Errorf("%s: %q says neither which tests cover it nor why it is not applicable", id, entry)
		}
		for _, test := range strings.Fields(tests) {
			pkg, name, _ := strings.Cut(test, ".")
			_, body, found := strings.Cut(sources[pkg], "\nfunc "+name+"(t *testing.T) {")
			body, _, _ = strings.Cut(body, "\nfunc ")
			if !found || !strings.Contains(body, id) {
				t.Errorf("%s: %s is not there, or does not bear the number", id, test)
			}
		}
	}
}

// sourceOf returns all tests of a folder.
func sourceOf(t *testing.T, folder string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("tests in %s: %v, %v", folder, names, err)
	}
	var all strings.Builder
	for _, name := range names {
		if name == "conformance_test.go" {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
		all.WriteString("\n")
	}
	return all.String()
}
