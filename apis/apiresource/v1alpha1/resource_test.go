package v1alpha1

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestNames(t *testing.T) {
	widgets := ResourceName{Group: "example.com", Version: "v1", Resource: "widgets"}
	services := ResourceName{Version: "v1", Resource: "services"}
	long := strings.Repeat("x", 63) + strings.Repeat("."+strings.Repeat("y", 60), 3)
	for _, test := range []struct{ got, want string }{
		{widgets.ObjectName(), "widgets.v1.example.com"},
		{services.ObjectName(), "services.v1.core"},
		{services.ImportName("eu-1"), "services.v1.core.eu-1"},
		{NameOf(widgets.GVR()).ImportName("us"), "widgets.v1.example.com.us"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
	one, other := widgets.ImportName(long+"1"), widgets.ImportName(long+"2")
	if one == other || len(one) > maxNameLength || len(validation.IsDNS1123Subdomain(one)) > 0 {
		t.Errorf("long names are cut to %s and %s", one, other)
	}
}
