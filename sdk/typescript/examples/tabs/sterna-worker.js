// All that the worker is: see index.html.
import "../../dist/shared-worker.js";
