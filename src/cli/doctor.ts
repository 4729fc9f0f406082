import { newCommand, type Run } from "./command.ts";
export function doctorCommand(run: Run) {
  return newCommand({ name: "doctor", summary: "x", examples: ["x"], statuses: [] }).action(
    async () => run(async () => ({ json: {}, text: "" })),
  );
}
