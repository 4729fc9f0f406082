/** Shows what the daemon says of its disks, as it says it. */
const shown = document.getElementById("status");
const events = new EventSource("/v1/events");

events.addEventListener("status", ({ data }) => {
  shown.textContent = JSON.stringify(JSON.parse(data), null, 2);
});
events.addEventListener("error", () => {
  shown.textContent = "the daemon does not answer, or the session has ended";
});
